use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

static N_SERVERS: AtomicUsize = AtomicUsize::new(0);

/// A server in a folder of its own, which is ended and removed with it.
pub struct Server {
    pub port: u16,
    pub folder: PathBuf,
    command: Vec<String>,
    process: Child,
}

/// A free port whose Cluster bus, 10,000 above it, is free too. Both lie below the ports of outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let n = std::process::id() as usize * 37 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 11_000 + (n % 11_000) as u16;
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

fn binary() -> Option<String> {
    let named = std::env::var("REDIS_SERVER").ok().filter(|it| !it.is_empty());
    let found = named.unwrap_or_else(|| "redis-server".into());
    let is_there = Command::new(&found).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    is_there.is_ok_and(|it| it.success()).then_some(found)
}

fn folder() -> PathBuf {
    let n = N_SERVERS.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("makima-tts-client-{}-{n}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Server {
    /// Whether the server was built with TLS. It ends at once, because it has no certificate.
    pub fn has_tls() -> bool {
        let port = free_port().to_string();
        let output = binary().and_then(|it| Command::new(it).args(["--port", "0", "--tls-port", &port]).output().ok());
        let lacks = |it: &str| it.contains("Failed finding TLS support") || it.contains("Bad directive");
        output.is_some_and(|it| !lacks(&String::from_utf8_lossy(&[it.stdout, it.stderr].concat())))
    }

    /// A server on a free port; None where there is no redis-server.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let port = free_port();
        let with_port: Vec<String> = arguments.iter().map(|it| (*it).into()).collect();
        Self::at(port, port, folder(), &with_port)
    }

    /// A server with its files in `folder`. `port`: where it answers; `plain_port`: its `--port`.
    pub fn at(port: u16, plain_port: u16, folder: PathBuf, arguments: &[String]) -> Option<Self> {
        let mut command = vec![binary()?];
        let (plain_port, dir) = (plain_port.to_string(), folder.to_str().unwrap().to_string());
        command.extend(["--port", &plain_port, "--bind", "127.0.0.1", "--save", "", "--dir", &dir].map(String::from));
        command.extend_from_slice(arguments);
        let process = Self::spawn(&command);
        let mut server = Self { port, folder, command, process };
        server.wait();
        Some(server)
    }

    /// A Sentinel, which has its options in a file.
    pub fn sentinel(port: u16, folder: PathBuf, arguments: &[String]) -> Self {
        let mut command = vec![binary().unwrap()];
        command.extend_from_slice(arguments);
        command.extend(["--port".into(), port.to_string(), "--dir".into(), folder.to_str().unwrap().into()]);
        let process = Self::spawn(&command);
        let mut server = Self { port, folder, command, process };
        server.wait();
        server
    }

    pub fn new_folder() -> PathBuf {
        folder()
    }

    fn spawn(command: &[String]) -> Child {
        Command::new(&command[0]).args(&command[1..]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(self.process.try_wait().unwrap().is_none(), "the server ended: {:?}", self.command);
            assert!(Instant::now() < deadline, "the server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.process = Self::spawn(&self.command);
        self.wait();
    }

    /// Sends a signal, by its name for `kill`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill {name} {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
