//! In virtual time.

use std::cell::Cell;
use std::rc::Rc;

use super::*;

fn supervisor() -> (Supervisor, CancellationToken) {
    let stop = CancellationToken::new();
    (Supervisor::new(stop.clone()), stop)
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_counted_and_started_again() {
    let (supervisor, stop) = supervisor();
    let runs = Rc::new(Cell::new(0));
    let task = || {
        let (runs, stop) = (Rc::clone(&runs), stop.clone());
        async move {
            runs.set(runs.get() + 1);
            match runs.get() {
                1 => panic!("first run"),
                2 => Ok(()),
                3 => anyhow::bail!("third run"),
                _ => {
                    stop.cancel();
                    std::future::pending().await
                }
            }
        }
    };
    supervisor.clone().keep("adapter", 1, task).await;
    assert_eq!(runs.get(), 4);
    let state = supervisor.tasks()["adapter"].clone();
    assert_eq!((state.restarts, state.panics, state.failures), (3, 1, 3));
    assert_eq!(state.last_failure.as_deref(), Some("third run"));
    assert!(!state.in_crash_loop());
}

#[tokio::test(start_paused = true)]
async fn a_factory_that_panics_is_survived_too() {
    let (supervisor, stop) = supervisor();
    let mut first = true;
    supervisor
        .clone()
        .keep("adapter", 1, || {
            assert!(!std::mem::take(&mut first), "the factory");
            stop.cancel();
            std::future::pending()
        })
        .await;
    assert_eq!(supervisor.tasks()["adapter"].panics, 1);
}

#[tokio::test(start_paused = true)]
async fn failing_on_and_on_is_a_crash_loop_until_it_runs_for_a_while() {
    let (supervisor, stop) = supervisor();
    let runs = Cell::new(0_u32);
    let began = Instant::now();
    let watched = supervisor.clone();
    let keep = supervisor.clone().keep("adapter", 1, || {
        runs.set(runs.get() + 1);
        let run = runs.get();
        let watched = watched.clone();
        async move {
            if run <= 20 {
                anyhow::bail!("no luck");
            }
            assert!(watched.tasks()["adapter"].in_crash_loop());
            tokio::time::sleep(WELL_AFTER * 2).await;
            Ok(())
        }
    });
    let look = async {
        while supervisor.tasks().get("adapter").is_none_or(|task| task.restarts < 20 || task.in_crash_loop())
        {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        stop.cancel();
    };
    tokio::join!(keep, look);
    assert_eq!(supervisor.tasks()["adapter"].panics, 0);
    assert!(began.elapsed() < Duration::from_secs(20 * 30 + 200), "restarts are at most 30 s apart");
}
