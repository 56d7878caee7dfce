//! On real files.

use mainstay_core::intent::{Change, Extent, Kind, Listing, Reading, ServiceType};

use super::*;
use crate::testing::Scratch;

fn web() -> ObjectName {
    "default/web".parse().unwrap()
}

fn service() -> Service {
    Service { service_type: ServiceType::LoadBalancer, ..Service::default() }
}

/// What was read to the list's end.
fn listed() -> Services {
    let readings = vec![Reading::read(web(), service(), vec![])];
    let mut services = Services::default();
    services.replace(Listing { kind: Kind::Service, extent: Extent::Complete, readings });
    services
}

/// What came by watch before any list.
fn half() -> Services {
    let mut services = Services::default();
    services.apply(Change::Present(Reading::read(web(), service(), vec![])));
    services
}

#[test]
fn the_next_run_knows_what_this_one_knew_but_has_no_list_of_it() {
    let scratch = Scratch::new("recollection");
    let kept = Recollection::new(&scratch.path().join("state"));
    assert_eq!(kept.load(), Intent::default());
    assert!(kept.write(&listed(), None).is_some());
    let known = Recollection::new(&scratch.path().join("state")).load().services;
    assert_eq!((known.get(&web()), known.is_listed()), (Some(&service()), false));
}

#[test]
fn what_was_never_all_read_replaces_nothing() {
    let scratch = Scratch::new("recollection");
    let kept = Recollection::new(scratch.path());
    assert_eq!(kept.write(&half(), None), None);
    assert!(!scratch.path().join(FILE).exists());
}

#[test]
fn what_the_file_says_is_not_written_again() {
    let scratch = Scratch::new("recollection");
    let kept = Recollection::new(scratch.path());
    let written = kept.write(&listed(), None);
    assert_eq!(kept.write(&listed(), written), written);
    assert_eq!(kept.tally.read().writes, 1);
}

#[test]
fn a_line_that_cannot_be_read_costs_no_other() {
    let scratch = Scratch::new("recollection");
    let kept = Recollection::new(scratch.path());
    kept.write(&listed(), None);
    let path = scratch.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [b"{\xff\n", whole.as_slice(), b"{\"na"].concat()).unwrap();
    assert_eq!(kept.load().services.len(), 1);
}

#[test]
fn a_directory_that_cannot_be_written_is_tried_again() {
    let scratch = Scratch::new("recollection");
    let kept = Recollection::new(&scratch.path().join("state"));
    fs::write(scratch.path().join("state"), "in the way").unwrap();
    assert_eq!(kept.write(&listed(), None), None);
    assert_eq!(kept.tally.read().errors, 1);
    fs::remove_file(scratch.path().join("state")).unwrap();
    assert!(kept.write(&listed(), None).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_changes_is_written_within_its_pause() {
    let scratch = Scratch::new("recollection");
    let kept = Recollection::new(scratch.path());
    let (tell, intent) = watch::channel(Arc::new(Intent::default()));
    let mut keeping = std::pin::pin!(kept.keep(intent));
    let written = async {
        tell.send_replace(Arc::new(Intent { services: listed(), ..Intent::default() }));
        while kept.tally.read().writes == 0 {
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = &mut keeping => unreachable!("it never ends"),
        () = written => assert_eq!(kept.load().services.len(), 1),
    }
}
