//! Every form of a key and of a value, and every fault with its line.

use super::*;

/// What a pool offers, as text.
fn offers(pools: &Pools, namespace: &str) -> Option<String> {
    let (key, pool) = pools.serving(namespace)?;
    let spans = pool.addresses.spans().map(|span| span.to_string());
    let dhcp = pool.dhcp.iter().map(|family| format!("DHCP {family}"));
    Some(format!("{key}: {}", spans.chain(dhcp).collect::<Vec<_>>().join(" ")))
}

fn problems(entries: &[(&str, &str)]) -> Vec<String> {
    Configuration::of(&data(entries)).problems.iter().map(ToString::to_string).collect()
}

fn notes(entries: &[(&str, &str)]) -> Vec<String> {
    Configuration::of(&data(entries)).notes.iter().map(ToString::to_string).collect()
}

#[test]
fn values_are_read_in_every_form() {
    for (value, expected) in [
        ("192.168.0.220/29", "192.168.0.216-192.168.0.223"),
        ("10.0.0.5/32", "10.0.0.5"),
        ("10.0.0.4/31", "10.0.0.4-10.0.0.5"),
        ("10.0.0.0/8", "10.0.0.0-10.255.255.255"),
        ("192.168.0.10-192.168.0.12", "192.168.0.10-192.168.0.12"),
        ("192.168.0.10-192.168.0.10", "192.168.0.10"),
        (" 10.0.0.1 - 10.0.0.2 , 10.0.0.9/32 ", "10.0.0.1-10.0.0.2 10.0.0.9"),
        ("192.168.0.200/30,192.168.0.200/29", "192.168.0.200-192.168.0.207"),
        ("192.168.0.10-192.168.0.11,192.168.0.10-192.168.0.13", "192.168.0.10-192.168.0.13"),
        ("10.0.0.3-10.0.0.4,10.0.0.1-10.0.0.2", "10.0.0.1-10.0.0.4"),
        ("2001:db8::12/127,2001:db8::10/127", "2001:db8::10-2001:db8::13"),
        ("192.168.0.200/30,2001:db8::10/127", "192.168.0.200-192.168.0.203 2001:db8::10-2001:db8::11"),
        ("fd00::/64", "fd00::-fd00::ffff:ffff:ffff:ffff"),
        ("0.0.0.0/32", "DHCP IPv4"),
        ("::/128", "DHCP IPv6"),
        ("::/128,0.0.0.0/32,0.0.0.0/32", "DHCP IPv4 DHCP IPv6"),
        ("0.0.0.0/32,fd00::1-fd00::2", "fd00::1-fd00::2 DHCP IPv4"),
    ] {
        // Either key takes either form of value, as in kube-vip-cloud-provider.
        for key in ["cidr-global", "range-global"] {
            assert_eq!(offers(&pools(&[(key, value)]), "web"), Some(format!("{key}: {expected}")));
        }
    }
}

#[test]
fn the_first_key_that_exists_serves_alone() {
    let all = [
        ("cidr-web", "10.0.1.0/24"),
        ("cidr-global", "10.0.2.0/24"),
        ("range-web", "10.0.3.1-10.0.3.9"),
        ("range-global", "10.0.4.1-10.0.4.9"),
    ];
    let serving = |from: usize, namespace| {
        let pools = pools(&all[from..]);
        pools.serving(namespace).map(|(key, _)| key.to_string())
    };
    for (from, web, other) in [
        (0, Some("cidr-web"), Some("cidr-global")),
        (1, Some("cidr-global"), Some("cidr-global")),
        (2, Some("range-web"), Some("range-global")),
        (3, Some("range-global"), Some("range-global")),
        (4, None, None),
    ] {
        assert_eq!(serving(from, "web").as_deref(), web);
        assert_eq!(serving(from, "other").as_deref(), other);
    }
    assert_eq!(serving(0, "global").as_deref(), Some("cidr-global"));
}

#[test]
fn sharing_and_interfaces_are_a_namespaces_own_or_global() {
    let pools = pools(&[
        ("allow-share-global", "true"),
        ("allow-share-web", "f"),
        ("interface-global", "eth0"),
        ("interface-web", " bond0.100 "),
    ]);
    assert!(pools.allows_sharing("other") && !pools.allows_sharing("web"));
    assert_eq!((pools.interface("other"), pools.interface("web")), (Some("eth0"), Some("bond0.100")));
    let none = Pools::default();
    assert!(!none.allows_sharing("web") && none.interface("web").is_none());
    for (text, expected) in [("1", true), ("T", true), ("TRUE", true), ("0", false), ("False", false)] {
        assert_eq!(super::pools(&[("allow-share-web", text)]).allows_sharing("web"), expected, "{text}");
    }
}

#[test]
fn options_are_read_whatever_their_place() {
    let pools = pools(&[("search-order", "desc"), ("avoid-buggy-ips", "false"), ("cidr-a", "10.0.0.0/32")]);
    assert_eq!((pools.order, pools.buggy), (SearchOrder::Descending, BuggyAddresses::Used));
    let asc = super::pools(&[("search-order", "asc"), ("avoid-buggy-ips", "true")]);
    assert_eq!((asc.order, asc.buggy), (SearchOrder::Ascending, BuggyAddresses::Avoided));
}

#[test]
fn ends_of_cidrs_are_skipped_on_request() {
    for (value, expected) in [
        ("10.0.0.0/30", "10.0.0.1-10.0.0.2"),
        ("10.0.0.4/31", "10.0.0.4-10.0.0.5"),
        ("10.0.0.4/32", "10.0.0.4"),
        ("10.0.0.4-10.0.0.7", "10.0.0.4-10.0.0.7"),
        ("10.0.0.8/30,10.0.0.8/29", "10.0.0.9-10.0.0.14"),
        ("10.0.0.8/30,10.0.0.12/30", "10.0.0.9-10.0.0.10 10.0.0.13-10.0.0.14"),
        ("fd00::/126", "fd00::1-fd00::3"),
        ("fd00::/127", "fd00::-fd00::1"),
    ] {
        let skipping = pools(&[("cidr-global", value), ("skip-end-ips-in-cidr", "true")]);
        assert_eq!(offers(&skipping, "web"), Some(format!("cidr-global: {expected}")), "{value}");
        let whole = pools(&[("cidr-global", value), ("skip-end-ips-in-cidr", "false")]);
        assert_eq!(whole, pools(&[("cidr-global", value)]));
    }
}

#[test]
fn sizes_leave_out_what_is_avoided() {
    let size = |entries: &[(&str, &str)], family| {
        let pools = pools(entries);
        let (_, pool) = pools.serving("web").unwrap();
        pool.size(family)
    };
    let value = ("range-global", "10.0.0.254-10.0.1.1,fd00::-fd00::ff");
    assert_eq!(size(&[value], Family::Ipv4), 2);
    assert_eq!(size(&[value, ("avoid-buggy-ips", "false")], Family::Ipv4), 4);
    assert_eq!(size(&[value], Family::Ipv6), 256);
    assert_eq!(size(&[("cidr-global", "10.0.0.0/8")], Family::Ipv4), 254 << 16);
    assert_eq!(size(&[("cidr-global", "fd00::/64")], Family::Ipv6), 1 << 64);
}

#[test]
fn each_fault_has_its_line() {
    let unusable = |entry: &str, what: &str| {
        format!("cidr-web={entry:?}: contains addresses that no Service can have, {what}; leave them out")
    };
    let of_pool = [
        ("", "an entry is empty; write ADDRESS/LENGTH or FIRST-LAST, or remove the comma or the key".to_owned()),
        ("10.0.0.5", "is neither ADDRESS/LENGTH nor FIRST-LAST; write one address as ADDRESS/32 or ADDRESS/128".to_owned()),
        ("web.example.org", "is neither ADDRESS/LENGTH nor FIRST-LAST; write one address as ADDRESS/32 or ADDRESS/128".to_owned()),
        ("10.0.0/24", "\"10.0.0\" is no IP address; write one such as 192.0.2.10 or 2001:db8::10".to_owned()),
        ("10.0.0.1-9", "\"9\" is no IP address; write one such as 192.0.2.10 or 2001:db8::10".to_owned()),
        ("10.0.0.1-10.0.0.2-10.0.0.3", "\"10.0.0.2-10.0.0.3\" is no IP address; write one such as 192.0.2.10 or 2001:db8::10".to_owned()),
        ("10.0.0.0/33", "\"33\" is no prefix length of IPv4; write a number from 0 to 32".to_owned()),
        ("10.0.0.0/+8", "\"+8\" is no prefix length of IPv4; write a number from 0 to 32".to_owned()),
        ("10.0.0.0/", "\"\" is no prefix length of IPv4; write a number from 0 to 32".to_owned()),
        ("10.0.0.0/99999999999", "\"99999999999\" is no prefix length of IPv4; write a number from 0 to 32".to_owned()),
        ("fd00::/129", "\"129\" is no prefix length of IPv6; write a number from 0 to 128".to_owned()),
        ("10.0.0.1-fd00::1", "begins in one family and ends in the other; write a range for each".to_owned()),
        ("10.0.0.9-10.0.0.1", "ends before it begins; write the lower address first".to_owned()),
        ("10.0.0.255/32", "all its addresses end in .0 or .255, which are avoided; add others, or set avoid-buggy-ips to \"false\"".to_owned()),
        ("10.0.0.255-10.0.1.0", "all its addresses end in .0 or .255, which are avoided; add others, or set avoid-buggy-ips to \"false\"".to_owned()),
    ];
    for (entry, fault) in &of_pool {
        assert_eq!(problems(&[("cidr-web", entry)]), [format!("cidr-web={entry:?}: {fault}")]);
    }
    for (entry, what) in [
        ("0.0.0.0/0", "\"this network\" (0.0.0.0/8)"),
        ("126.0.0.0-127.0.0.1", "loopback (127.0.0.0/8)"),
        ("224.0.0.251/32", "multicast (224.0.0.0/4)"),
        ("255.255.255.254-255.255.255.255", "reserved (240.0.0.0/4)"),
        ("::/0", "unspecified, loopback or IPv4-compatible (::/96)"),
        ("::1/128", "unspecified, loopback or IPv4-compatible (::/96)"),
        ("::ffff:10.0.0.0/120", "IPv4-mapped (::ffff:0:0/96)"),
        ("fe80::10/126", "link-local (fe80::/10)"),
        ("ff02::1-ff02::2", "multicast (ff00::/8)"),
    ] {
        assert_eq!(problems(&[("cidr-web", entry)]), [unusable(entry, what)]);
    }
    for (key, value, line) in [
        (
            "cidr_web",
            "10.0.0.0/24",
            r#"cidr_web="10.0.0.0/24": is no key of a pool or an option, and is ignored; correct it or remove it"#,
        ),
        (
            "allow-shared-web",
            "true",
            r#"allow-shared-web="true": is no key of a pool or an option, and is ignored; correct it or remove it"#,
        ),
        (
            "cidr-",
            "10.0.0.0/24",
            r#"cidr-="10.0.0.0/24": "" is no namespace; write "global" or a namespace's name after the dash"#,
        ),
        (
            "range-Web",
            "10.0.0.1-10.0.0.2",
            r#"range-Web="10.0.0.1-10.0.0.2": "Web" is no namespace; write "global" or a namespace's name after the dash"#,
        ),
        (
            "allow-share-web-",
            "true",
            r#"allow-share-web-="true": "web-" is no namespace; write "global" or a namespace's name after the dash"#,
        ),
        (
            "interface--web",
            "eth0",
            r#"interface--web="eth0": "-web" is no namespace; write "global" or a namespace's name after the dash"#,
        ),
        (
            "allow-share-web",
            "yes",
            r#"allow-share-web="yes": is neither "true" nor "false", and counts as "false"; write one of them"#,
        ),
        (
            "skip-end-ips-in-cidr",
            "on",
            r#"skip-end-ips-in-cidr="on": is neither "true" nor "false", and counts as "false"; write one of them"#,
        ),
        (
            "avoid-buggy-ips",
            "",
            r#"avoid-buggy-ips="": is neither "true" nor "false", and counts as "true"; write one of them"#,
        ),
        (
            "search-order",
            "DESC",
            r#"search-order="DESC": is neither "asc" nor "desc", and counts as "asc"; write one of them"#,
        ),
        (
            "interface-web",
            "a-name-of-16-chr",
            r#"interface-web="a-name-of-16-chr": is no interface's name; write 1 to 15 characters without spaces, slashes and colons"#,
        ),
        (
            "interface-web",
            "..",
            r#"interface-web="..": is no interface's name; write 1 to 15 characters without spaces, slashes and colons"#,
        ),
        (
            "cidr-web",
            "0.0.0.0/32,10.0.0.0/24",
            r#"cidr-web="0.0.0.0/32": means DHCP for all Services, and is ignored beside other IPv4 addresses; remove it or them"#,
        ),
    ] {
        assert_eq!(problems(&[(key, value)]), [line]);
    }
    let long = "a".repeat(64);
    assert_eq!(problems(&[(&format!("cidr-{long}"), "10.0.0.0/24")]).len(), 1);
}

#[test]
fn a_fault_disables_nothing_else() {
    let entries = [
        ("cidr-bad", "nonsense"),
        ("cidr-global", "10.0.0.0/33, 10.0.0.0/30,,fd00::1-fd00::2"),
        ("cidr-web", "10.0.2.0/30"),
        ("search-order", "sideways"),
    ];
    let found = Configuration::of(&data(&entries));
    assert_eq!(found.problems.len(), 4, "{:?}", found.problems);
    assert_eq!(offers(&found.pools, "web").unwrap(), "cidr-web: 10.0.2.0-10.0.2.3");
    assert_eq!(offers(&found.pools, "other").unwrap(), "cidr-global: 10.0.0.0-10.0.0.3 fd00::1-fd00::2");
    // What is meant for other namespaces does not serve in place of what is at fault.
    assert_eq!(offers(&found.pools, "bad").unwrap(), "cidr-bad: ");
}

#[test]
fn overlaps_and_what_is_never_used_are_told() {
    assert_eq!(
        notes(&[("cidr-a", "10.0.0.0/29"), ("cidr-b", "10.0.0.4-10.0.0.20"), ("cidr-c", "10.0.1.0/24")]),
        [
            "cidr-a and cidr-b overlap in 10.0.0.4-10.0.0.7: no address is handed out twice, but Services of either use \
          up the other's; separate them if that is not meant"
        ]
    );
    assert_eq!(
        notes(&[("range-a", "10.0.0.1-10.0.0.9"), ("cidr-global", "10.1.0.0/24")]),
        [
            "range-a is never used: cidr-global comes before it, as in kube-vip-cloud-provider; name it cidr-a to use it"
        ]
    );
    let shadowed = |entries: &[(&str, &str)]| notes(entries).len();
    assert_eq!(shadowed(&[("range-a", "10.0.0.1-10.0.0.9"), ("range-global", "10.1.0.1-10.1.0.9")]), 0);
    assert_eq!(shadowed(&[("range-global", "10.0.0.1-10.0.0.9"), ("cidr-global", "10.1.0.0/24")]), 1);
    assert_eq!(shadowed(&[("range-global", "10.0.0.1-10.0.0.9"), ("cidr-a", "10.1.0.0/24")]), 0);
    assert_eq!(shadowed(&[("range-a", "10.0.0.1-10.0.0.9"), ("cidr-a", "10.1.0.0/24")]), 1);
}
