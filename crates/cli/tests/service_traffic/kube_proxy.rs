//! kube-proxy beside Mainstay, in its iptables and nftables modes: both translate at one place, which the stand-in has.

use std::net::{Ipv6Addr, SocketAddr};

use mainstay_lab::kube_proxy::{Forwarded, program};
use mainstay_lab::netns::Pod;

use crate::bed::{Bed, Talk, VIPS, answer_all, echo, reaches};

/// The endpoint's own port.
const TARGET: u16 = 8080;
const NODE_PORT: u16 = 30080;

/// From outside, from each node itself and from pods on each: all reach the Service, and, but for the holder itself, nobody
/// what else listens on the holder.
#[test]
fn a_service_is_reached_from_outside_from_its_own_node_and_from_pods() {
    let Some(mut bed) = Bed::new("kube-proxy", &[("enable_service_security", "true")]) else { return };
    let pod =
        |node: usize, number: u8| Pod::new(&bed.cluster.segment, bed.host(node), number).expect("a pod");
    // One that serves, on the first node, and clients on both.
    let pods = [pod(0, 1), pod(0, 2), pod(1, 3)];
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, TARGET));
    let listener = pods[0].enter(|| std::net::TcpListener::bind(any)).expect("a pod").expect("a listener");
    std::thread::spawn(move || answer_all(&listener));
    let endpoints = [pods[0].ipv4().into(), pods[0].ipv6().into()];
    let forwarded: Vec<Forwarded> = VIPS
        .into_iter()
        .zip(endpoints)
        .map(|(vip, pod)| Forwarded {
            service: SocketAddr::new(vip, 80),
            node_port: NODE_PORT,
            endpoint: SocketAddr::new(pod, TARGET),
        })
        .collect();
    for node in 0..2 {
        program(bed.host(node), &forwarded).expect("kube-proxy's rules");
        echo(bed.host(node), 22);
    }
    bed.start();
    bed.serve(&[80]);
    let holder = bed.holder();
    bed.wait("it is filtered", |bed| (0..2).all(|node| bed.is_filtered(node)));

    let client = bed.cluster.client.clone();
    assert_eq!((reaches(&client, 80), reaches(&client, 22)), ([true, true], [false, false]), "from outside");
    // kube-proxy opens node ports on whatever address a node has. The filter is asked before it.
    assert_eq!(reaches(&client, NODE_PORT), [false, false], "a node port on the Service's address");
    let node = SocketAddr::from((bed.host(holder).ipv4(), NODE_PORT));
    client
        .enter(|| Talk::begin(node.ip(), node.port()))
        .expect("there")
        .expect("a node port on the node's own");
    for node in 0..2 {
        assert_eq!(reaches(bed.host(node), 80), [true, true], "from node {node}, of which {holder} holds");
        assert_eq!(
            reaches(bed.host(node), 22),
            [node == holder; 2],
            "from node {node}, of which {holder} holds"
        );
    }
    for (pod, number) in pods.iter().zip(1..) {
        let reaches =
            |port| VIPS.map(|vip| pod.enter(|| Talk::begin(vip, port).is_ok()).expect("the pod is there"));
        assert_eq!((reaches(80), reaches(22)), ([true, true], [false, false]), "from pod {number}");
    }
}
