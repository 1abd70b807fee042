use super::*;

fn ok(url: &str) -> Address {
    match parse(url) {
        Ok(address) => address,
        Err(problem) => panic!("{url}: {problem}"),
    }
}

fn server(host: &str, port: u16) -> Place {
    Place::Server(host.into(), port)
}

#[test]
fn a_server_has_defaults_for_what_its_url_leaves_out() {
    let cases = [
        ("redis://127.0.0.1", server("127.0.0.1", 6379), 0),
        ("REDIS://Example.Org:7000/", server("example.org", 7000), 0),
        ("rediss://example.org/3", server("example.org", 6379), 3),
        ("redis://[::1]:6380?db=2", server("::1", 6380), 2),
        ("unix:///run/re%20dis.sock?db=4", Place::Socket("/run/re dis.sock".into()), 4),
    ];
    for (url, place, db) in cases {
        let address = ok(url);
        assert_eq!((address.place, address.db), (place, db), "{url}");
        assert_eq!(address.is_tls, url.starts_with("rediss"), "{url}");
    }
}

#[test]
fn user_and_password_stand_before_the_host_or_behind_the_question_mark() {
    let login = |url: &str| {
        let address = ok(url);
        (address.username.unwrap_or_default(), address.password.unwrap_or_default())
    };
    assert_eq!(login("redis://me:p%40ss%2F@host/0"), ("me".into(), "p@ss/".into()));
    assert_eq!(login("redis://:only@host"), (String::new(), "only".into()));
    assert_eq!(login("redis://host?username=me&password=a+b"), ("me".into(), "a b".into()));
    assert_eq!(login("redis://me@host?username=you&password=x"), ("me".into(), "x".into()));
    assert_eq!(login("redis+cluster://me:se:cret@a,b"), ("me".into(), "se:cret".into()));
}

#[test]
fn sentinel_and_cluster_have_several_hosts() {
    let hosts = |ports: [u16; 2]| vec![("a".to_string(), ports[0]), ("b".to_string(), ports[1])];
    let sentinel = ok("rediss+sentinel://a,b:7/speech/5");
    assert_eq!(sentinel.place, Place::Sentinels(hosts([26379, 7]), "speech".into()));
    assert_eq!((sentinel.db, sentinel.is_tls), (5, true));
    assert_eq!(ok("redis+cluster://a:1,b").place, Place::Cluster(hosts([1, 6379])));
}

#[test]
fn what_is_no_address_is_refused_without_its_password() {
    let bad = [
        "",
        "localhost:6379",
        "http://host",
        "redis:/host",
        "redis://",
        "redis://host/x",
        "redis://host:99999",
        "redis://host:x",
        "redis://h:se#cret@host",
        "redis://host?ssl_cert_reqs=none",
        "redis://host?db=",
        "redis://host?db=x",
        "redis://host?db",
        "unix://",
        "unix:///",
        "redis+sentinel://a:1",
        "redis+sentinel://a:1/s/x",
        "redis+sentinel://a:1/s?db=1",
        "redis+cluster://a:1/1",
        "redis+cluster://a:secret,b",
        "redis+cluster://,",
        "redis://[::1",
        "redis://host/1234567890",
    ];
    for url in bad {
        match parse(url) {
            Ok(_) => panic!("{url} is accepted"),
            Err(problem) => assert!(!problem.to_string().contains("secret"), "{url}: {problem}"),
        }
    }
}
