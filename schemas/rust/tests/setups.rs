//! Every kind of Redis that the worker's URLs name: users, sockets, TLS, Sentinel, Cluster.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used)]

mod support;

use makima_tts_client::{Client, ClientBuilder, Job, Readers, SessionId};
use std::path::Path;
use std::time::Duration;
use support::{Listener, Script, Server, Worker, readers};

const TEXT: &str = "A sentence that every kind of Redis carries.";

/// Some sessions speak: two jobs, one that is stopped, and an open text.
async fn speak(client: &Client) {
    let speaking = (0..6).map(|_| {
        let (session, mut events) = client.open(SessionId::fresh());
        async move {
            let mut listener = Listener::default();
            let first = session.speak(Job::new(TEXT)).await.unwrap();
            listener.until_ended(&mut events, 1).await;
            let stopped = session.speak(Job::new(TEXT)).await.unwrap();
            session.stop();
            let pieces = ["Written ", "piece by piece."].map(String::from);
            let open = session.speak_stream(Job::open(), futures_util::stream::iter(pieces)).await.unwrap();
            listener.until_ended(&mut events, 3).await;
            listener.assert_whole(&first, TEXT);
            listener.assert_whole(&open, "Written piece by piece.");
            assert!(listener.jobs[&stopped].is_muted);
            session.cancel_all().await.unwrap();
            session.leave().await.unwrap();
        }
    });
    futures_util::future::join_all(speaking).await;
}

async fn in_both_ways(builder: ClientBuilder) {
    for readers in readers() {
        let client = builder.clone().readers(readers).build().unwrap();
        client.ping().await.unwrap();
        speak(&client).await;
        assert!(client.stats().looks == 0 || client.stats().hints > 0, "{:?}", client.stats());
    }
}

fn users(folder: &Path, more: &str) -> String {
    let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/redis/users.acl");
    let deployed = std::fs::read_to_string(deployed).unwrap();
    let file = folder.join("users.acl");
    std::fs::write(&file, format!("{deployed}\nuser fake on nopass ~* &* +@all\n{more}\n")).unwrap();
    file.to_str().unwrap().into()
}

#[tokio::test]
async fn the_deployments_user_has_all_rights_that_a_client_needs() {
    let folder = Server::new_folder();
    let server = server_or_skip!("--aclfile", &users(&folder, ""));
    let _worker = Worker::start(format!("redis://fake:x@127.0.0.1:{}", server.port), Script::NONE);
    in_both_ways(Client::builder(server.url()).credentials("relay", "change-me-relay")).await;
    let mut admin = redis::Client::open(format!("redis://fake:x@127.0.0.1:{}", server.port)).unwrap();
    let refused: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query(&mut admin).unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_user_without_channels_is_read_once_a_second() {
    let folder = Server::new_folder();
    let server = server_or_skip!("--aclfile", &users(&folder, "user deaf on >x ~* resetchannels +@all"));
    let _worker = Worker::start(format!("redis://fake:x@127.0.0.1:{}", server.port), Script::NONE);
    let builder = Client::builder(format!("redis://deaf:x@127.0.0.1:{}", server.port));
    let client = builder.readers(Readers::own_connections(0)).build().unwrap();
    speak(&client).await;
    let stats = client.stats();
    assert!(stats.hints == 0 && stats.looks > 0 && stats.reconnects == 0, "{stats:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_socket_and_another_database_are_an_address_too() {
    let folder = Server::new_folder();
    let path = folder.join("redis.sock");
    let server = server_or_skip!("--unixsocket", path.to_str().unwrap());
    let _worker = Worker::start(format!("redis://127.0.0.1:{}/3", server.port), Script::NONE);
    in_both_ways(Client::builder(format!("unix://{}?db=3", path.display()))).await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_password_file_is_read_for_each_connection() {
    let server = server_or_skip!("--requirepass", "old");
    let file = server.folder.join("password");
    std::fs::write(&file, "old\n").unwrap();
    let _worker = Worker::start(format!("redis://:old@127.0.0.1:{}", server.port), Script::NONE);
    let client = Client::builder(server.url()).password_file(&file).build().unwrap();
    speak(&client).await;
    let admin = redis::Client::open(format!("redis://:old@127.0.0.1:{}", server.port)).unwrap();
    let mut admin = admin.get_connection().unwrap();
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("new").exec(&mut admin).unwrap();
    std::fs::write(&file, "new\n").unwrap();
    let _worker = Worker::start(format!("redis://:new@127.0.0.1:{}", server.port), Script::NONE);
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").exec(&mut admin).unwrap();
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").exec(&mut admin).unwrap();
    speak(&client).await;
    let wrong = Client::builder(server.url()).credentials("", "mistaken").deadline(Duration::from_millis(500));
    let failed = wrong.build().unwrap().ping().await.unwrap_err().to_string();
    assert!(failed.contains("WRONGPASS") && !failed.contains("mistaken"), "{failed}");
}

#[test]
fn an_address_that_cannot_be_used_is_refused_when_the_client_is_built() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert!(Client::builder("redis://localhost").build().is_err(), "there is no runtime");
    let _guard = runtime.enter();
    assert!(Client::builder("redis://localhost").build().is_ok());
    assert!(Client::builder("localhost:6379").build().is_err());
    assert!(Client::builder("redis://localhost").sessions("http://localhost").build().is_err());
    assert_eq!(Client::builder("rediss://localhost").build().is_ok(), cfg!(feature = "tls"));
    assert_eq!(Client::builder("redis+sentinel://localhost/s").build().is_ok(), cfg!(feature = "sentinel"));
    assert_eq!(Client::builder("redis+cluster://localhost").build().is_ok(), cfg!(feature = "cluster"));
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;
    use std::process::{Command, Stdio};

    fn openssl(folder: &Path, words: &str) -> Option<()> {
        let mut command = Command::new("openssl");
        command.current_dir(folder).args(words.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().ok().filter(|it| it.success()).map(drop)
    }

    /// Two authorities, and a certificate for 127.0.0.1 by the first.
    fn certificates(folder: &Path) -> Option<()> {
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout";
        for name in ["ca", "other"] {
            let authority = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign";
            let subject = format!("-out {name}.pem -days 2 -subj /CN={name} {authority}");
            openssl(folder, &format!("req -x509 {key} {name}.key {subject}"))?;
        }
        std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").ok()?;
        openssl(folder, &format!("req {key} server.key -out server.csr -subj /CN=server"))?;
        let by = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names";
        openssl(folder, &format!("x509 -req -in server.csr -out server.pem {by}"))
    }

    #[tokio::test]
    async fn tls_checks_the_servers_certificate() {
        let folder = Server::new_folder();
        if certificates(&folder).is_none() || !Server::has_tls() {
            return println!("skipped: install openssl and a redis-server with TLS");
        }
        let (port, plain_port) = (support::free_port(), support::free_port());
        let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
        let (tls_port, ca, cert, key) = (port.to_string(), path("ca.pem"), path("server.pem"), path("server.key"));
        let words = ["--tls-port", &tls_port, "--tls-ca-cert-file", &ca, "--tls-cert-file", &cert];
        let more = ["--tls-key-file", &key, "--tls-auth-clients", "no"];
        let words: Vec<String> = words.into_iter().chain(more).map(String::from).collect();
        let Some(server) = Server::at(port, plain_port, folder.clone(), &words) else {
            return println!("skipped: install redis-server");
        };
        let _worker = Worker::start(format!("redis://127.0.0.1:{plain_port}"), Script::NONE);
        let builder = Client::builder(format!("rediss://127.0.0.1:{}", server.port));
        in_both_ways(builder.clone().ca_file(&ca)).await;
        let stranger = builder.ca_file(path("other.pem")).deadline(Duration::from_secs(1)).build().unwrap();
        assert!(stranger.ping().await.is_err());
    }
}

#[cfg(feature = "sentinel")]
#[tokio::test]
async fn after_a_fail_over_the_client_speaks_through_the_new_master() {
    let mut master = server_or_skip!();
    let (host, port) = ("127.0.0.1", master.port.to_string());
    let replica = server_or_skip!("--replicaof", &format!("{host} {port}"), "--repl-diskless-sync-delay", "0");
    let folder = Server::new_folder();
    let config = folder.join("sentinel.conf");
    let speech = "sentinel down-after-milliseconds speech 300\nsentinel failover-timeout speech 1500\n";
    std::fs::write(&config, format!("sentinel monitor speech {host} {port} 1\n{speech}")).unwrap();
    let words = [config.to_str().unwrap(), "--sentinel"].map(String::from);
    let sentinel_port = support::free_port();
    let sentinel = Server::sentinel(sentinel_port, folder, &words);
    let worker = Worker::start(master.url(), Script::NONE);
    let url = format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}/speech/0", sentinel.port);
    let client = Client::builder(url).deadline(Duration::from_secs(60)).build().unwrap();
    speak(&client).await;
    let know = async || {
        let mut sentinel = redis::Client::open(sentinel.url().trim_end_matches("/0")).unwrap();
        let states: Vec<std::collections::HashMap<String, String>> =
            redis::cmd("SENTINEL").arg("REPLICAS").arg("speech").query(&mut sentinel).unwrap();
        states.iter().any(|it| it["master-link-status"] == "ok")
    };
    support::eventually("the Sentinel knows the replica", know).await;
    drop(worker);
    let (session, mut events) = client.open(SessionId::fresh());
    master.kill();
    let job = session.submit(Job::new(TEXT)).unwrap();
    let _worker = Worker::start(replica.url(), Script::NONE);
    let mut listener = Listener::default();
    listener.until_ended(&mut events, 1).await;
    listener.assert_whole(&job, TEXT);
    speak(&client).await;
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn a_cluster_of_three_is_read_on_hints() {
    let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
    let more = ["--cluster-require-full-coverage", "no"];
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(server_or_skip!(options[0], options[1], options[2], options[3], more[0], more[1]));
    }
    let slots = [(0, 5460), (5461, 10922), (10923, 16383)];
    for (node, (first, last)) in nodes.iter().zip(slots) {
        let mut connection = redis::Client::open(node.url()).unwrap().get_connection().unwrap();
        redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(last).exec(&mut connection).unwrap();
        redis::cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(nodes[0].port).exec(&mut connection).unwrap();
    }
    for node in &nodes {
        let mut connection = redis::Client::open(node.url()).unwrap();
        let mut knows = async || {
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut connection).unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
        };
        while !knows().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let script = Script { is_cluster: true, ..Script::NONE };
    let _worker = Worker::start(nodes[0].url(), script);
    let url = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", nodes[1].port, nodes[2].port);
    let client = Client::builder(url).build().unwrap();
    client.ping().await.unwrap();
    speak(&client).await;
    assert!(client.stats().hints > 0, "{:?}", client.stats());
    for node in &nodes {
        let mut connection = redis::Client::open(node.url()).unwrap().get_connection().unwrap();
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").exec(&mut connection).unwrap();
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").exec(&mut connection).unwrap();
    }
    speak(&client).await;
    nodes[1].kill();
    nodes[1].start_again();
    speak(&client).await;
}
