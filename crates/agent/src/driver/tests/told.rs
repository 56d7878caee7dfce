//! What the loop is told beside inputs, what it tells, and what it keeps.

use super::*;

/// What the names mean is told to the core and kept; of addresses that were given as such neither is ever said.
#[tokio::test(start_paused = true)]
async fn what_the_names_mean_is_told_and_kept_whenever_it_changes() {
    let vip = |last: u8| Vip::from([10, 0, 0, last]);
    let (driver, held) = driver(vec![], vec![], Wire::default());
    held.vips.send(vec![vip(100)]).expect("the loop follows");
    let resolve = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answers: Answers = [("api.example.com".to_owned(), vec![vip(101)])].into();
        held.names.send(answers.clone()).expect("the loop follows");
        held.vips.send(vec![vip(101)]).expect("the loop follows");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(held.saves.take().expect("it is saved"), Snapshot { names: answers, ..snapshot("start") });
        held.commands.send(Command::Abort).await.expect("the loop takes commands");
    };
    tokio::join!(driver.run(), resolve);
    assert_eq!(held.record.inputs(), [Input::Tick, Input::Vips(vec![vip(101)])]);
}

/// Whoever judges and chooses among a name's addresses is told what the core has learned of others.
#[tokio::test(start_paused = true)]
async fn what_the_core_learns_of_others_is_told_on() {
    let vip = |host| Vip::from([10, 0, 0, host]);
    let member = Member { macs: vec![], addresses: vec![vip(6)] };
    let members: Members = [(NodeName::new("n2"), member)].into();
    let memory = ClaimMemory { members: members.clone(), told: vec![vip(101)], ..ClaimMemory::default() };
    let claims = [(ClaimId::control_plane(), memory)].into();
    let saved = Effect::Save(Snapshot { claims, ..snapshot("core") });
    let (driver, held) = driver(vec![vec![saved]], vec![], Wire::default());
    tokio::join!(driver.run(), shut_down_at(&held, at(100)));
    let told = (held.named.members.borrow().clone(), held.named.told.borrow().clone());
    assert_eq!(told, (members, vec![vip(101)]));
}

#[tokio::test(start_paused = true)]
async fn snapshots_carry_the_api_servers_learned_before_and_after() {
    let saved = Effect::Save(snapshot("core"));
    let (driver, held) = driver(vec![vec![], vec![saved]], vec![], Wire::default());
    let learn = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(
            held.saves.take().unwrap(),
            snapshot("start"),
            "a restart is the same run from the first moment"
        );
        held.inputs.send(Input::Lease(LeaseReport::Absent)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(held.saves.take().unwrap(), snapshot("core"));
        held.learned.send(vec!["https://10.0.0.2:6443".into()]).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let api_servers = vec!["https://10.0.0.2:6443".to_owned()];
        assert_eq!(held.saves.take().unwrap(), Snapshot { api_servers, ..snapshot("core") });
        shut_down_at(&held, at(1_000)).await;
    };
    tokio::join!(driver.run(), learn);
}

#[tokio::test(start_paused = true)]
async fn services_are_told_when_they_are_known_and_the_cluster_is_kept() {
    let (driver, held) = driver(vec![], vec![], Wire::default());
    let services: Vec<Vip> = vec![[10, 1, 0, 1].into()];
    let tell = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(held.record.inputs(), [Input::Tick], "nothing is known yet");
        held.services.send_replace(Some(services.clone()));
        held.cluster.send_replace(Some("uid".to_owned()));
        tokio::time::sleep(Duration::from_millis(10)).await;
        held.services.send_replace(Some(vec![]));
    };
    let (ending, (), ()) = tokio::join!(driver.run(), tell, shut_down_at(&held, at(100)));
    assert_eq!(ending, Ending::Stopped);
    let told = [Input::Tick, Input::Services(services), Input::Services(vec![]), Input::Shutdown];
    assert_eq!(held.record.inputs(), told, "none left is something to tell as well");
    assert_eq!(held.saves.take().expect("kept").cluster.as_deref(), Some("uid"));
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_told_at_its_start_whether_its_node_is_fit() {
    let (driver, held) = driver(vec![], vec![], Wire::default());
    held.fitness.send_replace(Some(Health::Unhealthy));
    let (ending, ()) = tokio::join!(driver.run(), shut_down_at(&held, at(50)));
    assert_eq!(ending, Ending::Stopped);
    assert_eq!(held.record.inputs(), [Input::Tick, Input::Health(Health::Unhealthy), Input::Shutdown]);
}

/// What an earlier run knew of a seat is said of it once: from then on the core knows better.
#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_a_seat_is_told_the_first_time_alone() {
    let (beacon, vip) = (Vip::from([169, 254, 200, 1]), Vip::from([10, 0, 0, 1]));
    let (n1, n2) = (ClaimId::seat(&NodeName::new("n1")), ClaimId::seat(&NodeName::new("n2")));
    let gone = AddressChange::Removed { vip: [169, 254, 200, 2].into(), expired: true };
    let wire = Wire { arrivals: [(at(15), Input::Address(gone))].into(), ..Wire::default() };
    let (mut driver, held) = driver(vec![], vec![], wire);
    let memory = ClaimMemory { held: true, services: [vip].into(), ..ClaimMemory::default() };
    driver.edges.snapshot.claims = [(n1.clone(), memory.clone())].into();
    driver.edges.worn = [beacon, vip, [169, 254, 200, 2].into()].into();
    let placed = |last: u8| Placed { beacon: [169, 254, 200, last].into(), services: Some([vip].into()) };
    let tell = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        held.placed.send_replace(Some([(n1.clone(), placed(1))].into()));
        tokio::time::sleep(Duration::from_millis(10)).await;
        held.placed.send_replace(Some([(n1.clone(), placed(1)), (n2.clone(), placed(2))].into()));
    };
    tokio::join!(driver.run(), tell, shut_down_at(&held, at(50)));
    let inputs = held.record.inputs();
    let told = inputs.iter().filter_map(|input| match input {
        Input::Seats(seats) => Some(seats),
        _ => None,
    });
    let [first, second] = &told.collect::<Vec<_>>()[..] else { panic!("{inputs:?}") };
    assert_eq!((first[&n1].memory.as_ref(), &first[&n1].found), (Some(&memory), &[beacon, vip].into()));
    assert_eq!((second[&n1].memory.as_ref(), second[&n1].found.len()), (None, 0), "the core has it");
    assert_eq!(second[&n2].found.len(), 0, "what went from the interface is not found there");
}
