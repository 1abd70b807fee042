use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A way to a server on which replies get lost: the connection breaks when one of the next jobs was published.
pub struct Proxy {
    pub port: u16,
    n_losses: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn to(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let n_losses = Arc::new(AtomicUsize::new(0));
        let losses = n_losses.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(client, server_port, losses.clone()));
            }
        });
        Self { port, n_losses }
    }

    pub fn lose_replies(&self, n: usize) {
        self.n_losses.store(n, Ordering::SeqCst);
    }

    pub fn n_left(&self) -> usize {
        self.n_losses.load(Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, server_port: u16, losses: Arc<AtomicUsize>) {
    let mut server = TcpStream::connect(("127.0.0.1", server_port)).await.unwrap();
    let (mut sent, mut replied) = ([0; 65_536], [0; 65_536]);
    loop {
        tokio::select! {
            n = client.read(&mut sent) => {
                let Ok(n @ 1..) = n else { return };
                server.write_all(&sent[..n]).await.unwrap();
                let is_job = String::from_utf8_lossy(&sent[..n]).contains("{speak}:jobs");
                let lose = |n: usize| n.checked_sub(1);
                if is_job && losses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok() {
                    assert!(server.read(&mut replied).await.unwrap() > 0);
                    return;
                }
            }
            n = server.read(&mut replied) => {
                let Ok(n @ 1..) = n else { return };
                if client.write_all(&replied[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
