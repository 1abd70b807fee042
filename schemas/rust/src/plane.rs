//! One Redis: how a connection to it is made. Password and certificate files are read for each connection.

use crate::address::{Address, Place};
use crate::failures::ConfigError;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisFuture, RedisResult, Value,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// For a reply: a server that flushes its append-only file delays one for more than a second.
pub(crate) const REPLY_WITHIN: Duration = Duration::from_secs(2);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Called with what a server sends unasked, and with the loss of the connection.
pub(crate) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// The address of one plane's Redis, with what a log-in needs.
#[derive(Clone)]
pub(crate) struct Plane {
    pub address: Address,
    pub login: Option<(Option<String>, Option<String>)>,
    pub password_file: Option<PathBuf>,
    #[cfg_attr(not(feature = "tls"), allow(dead_code))] // `check` refuses addresses with TLS then
    pub ca_file: Option<PathBuf>,
}

/// A connection that many commands share. Its clones are the same connection.
#[derive(Clone)]
pub(crate) enum Connection {
    One(MultiplexedConnection),
    #[cfg(feature = "cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

impl Plane {
    /// Refuses an address for which a feature of this crate is off.
    pub fn check(&self) -> Result<(), ConfigError> {
        let missing = match &self.address.place {
            _ if self.address.is_tls && !cfg!(feature = "tls") => "tls",
            Place::Sentinels(..) if !cfg!(feature = "sentinel") => "sentinel",
            Place::Cluster(_) if !cfg!(feature = "cluster") => "cluster",
            _ => return Ok(()),
        };
        let problem = format!("the Redis URL needs the feature `{missing}` of makima-tts-client");
        Err(ConfigError::new(problem, format!("add it: cargo add makima-tts-client --features {missing}")))
    }

    pub fn is_cluster(&self) -> bool {
        matches!(self.address.place, Place::Cluster(_))
    }

    pub async fn connect(&self, reply_within: Duration, on_push: Option<OnPush>) -> RedisResult<Connection> {
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(reply_within));
        if let Some(on_push) = on_push.clone() {
            config = config.set_push_sender(move |push| {
                on_push(push);
                Ok::<(), redis::aio::SendError>(())
            });
        }
        match &self.address.place {
            Place::Server(host, port) => self.server(self.tcp(host, *port), &config).await,
            Place::Socket(path) => self.server(ConnectionAddr::Unix(path.clone()), &config).await,
            #[cfg(feature = "sentinel")]
            Place::Sentinels(sentinels, service) => self.master(sentinels, service, &config).await,
            #[cfg(feature = "cluster")]
            Place::Cluster(nodes) => self.cluster(nodes, reply_within, on_push).await,
            #[allow(unreachable_patterns)]
            _ => {
                Err(RedisError::from((ErrorKind::InvalidClientConfig, "this kind of URL needs a feature that is off")))
            }
        }
    }

    async fn server(&self, place: ConnectionAddr, config: &AsyncConnectionConfig) -> RedisResult<Connection> {
        let client = self.client(place, self.identity()?)?;
        client.get_multiplexed_async_connection_with_config(config).await.map(Connection::One)
    }

    fn client(&self, place: ConnectionAddr, identity: RedisConnectionInfo) -> RedisResult<redis::Client> {
        let info = info(place)?.set_redis_settings(identity);
        #[cfg(feature = "tls")]
        if self.address.is_tls {
            return redis::Client::build_with_tls(info, self.certificates()?);
        }
        redis::Client::open(info)
    }

    fn tcp(&self, host: &str, port: u16) -> ConnectionAddr {
        let host = host.to_string();
        if !self.address.is_tls {
            return ConnectionAddr::Tcp(host, port);
        }
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    }

    /// User, password and database. Those given apart from the URL win over the URL's, the file over both passwords.
    fn identity(&self) -> RedisResult<RedisConnectionInfo> {
        let (user, password) = self.login.clone().unwrap_or_default();
        let user = user.or_else(|| self.address.username.clone());
        let password = match &self.password_file {
            Some(file) => {
                let content = std::fs::read_to_string(file).map_err(|problem| unreadable("password", &problem))?;
                Some(content.trim_end_matches(['\r', '\n']).to_string())
            }
            None => password.or_else(|| self.address.password.clone()),
        };
        let mut identity = RedisConnectionInfo::default()
            .set_db(self.address.db.into())
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(user) = user {
            identity = identity.set_username(user);
        }
        if let Some(password) = password {
            identity = identity.set_password(password);
        }
        Ok(identity)
    }

    #[cfg(feature = "tls")]
    fn certificates(&self) -> RedisResult<redis::TlsCertificates> {
        // redis-rs takes the process' default, which is none where a program depends on two providers or on none.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default(); // an error: another thread was first
        }
        let root_cert = match &self.ca_file {
            Some(file) => Some(std::fs::read(file).map_err(|problem| unreadable("CA", &problem))?),
            None => None,
        };
        Ok(redis::TlsCertificates { client_tls: None, root_cert })
    }

    /// The service's master, which the first Sentinel names that names one which answers.
    #[cfg(feature = "sentinel")]
    async fn master(
        &self,
        sentinels: &[(String, u16)],
        service: &str,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<Connection> {
        let mut failure = RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "no Sentinel knows the service"));
        for sentinel in sentinels {
            let connected = match self.named_by(sentinel, service).await {
                Ok(None) => continue,
                Ok(Some((host, port))) => self.server(self.tcp(&host, port), config).await,
                Err(problem) => Err(problem),
            };
            match connected {
                Ok(connection) => return Ok(connection),
                Err(problem) => failure = problem,
            }
        }
        Err(failure)
    }

    /// The place of the service's master. Sentinels get no user and no password, which they may not know.
    #[cfg(feature = "sentinel")]
    async fn named_by(&self, (host, port): &(String, u16), service: &str) -> RedisResult<Option<(String, u16)>> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(REPLY_WITHIN))
            .set_response_timeout(Some(REPLY_WITHIN));
        let client = self.client(self.tcp(host, *port), RedisConnectionInfo::default().set_skip_set_lib_name())?;
        let mut sentinel = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(service).query_async(&mut sentinel).await
    }

    #[cfg(feature = "cluster")]
    async fn cluster(
        &self,
        nodes: &[(String, u16)],
        reply_within: Duration,
        on_push: Option<OnPush>,
    ) -> RedisResult<Connection> {
        let identity = self.identity()?;
        let nodes = nodes.iter().map(|(host, port)| info(self.tcp(host, *port))).collect::<RedisResult<Vec<_>>>()?;
        let mut builder = redis::cluster::ClusterClientBuilder::new(nodes)
            .use_protocol(ProtocolVersion::RESP3)
            .tcp_settings(TcpSettings::default().set_nodelay(true))
            .connection_timeout(CONNECT_WITHIN)
            .response_timeout(reply_within);
        if let Some(user) = identity.username() {
            builder = builder.username(user);
        }
        if let Some(password) = identity.password() {
            builder = builder.password(password);
        }
        if let Some(on_push) = on_push {
            builder = builder.push_sender(move |push| {
                on_push(push);
                Ok::<(), redis::aio::SendError>(())
            });
        }
        #[cfg(feature = "tls")]
        if self.address.is_tls {
            builder = builder.tls(redis::TlsMode::Secure).certs(self.certificates()?);
        }
        builder.build()?.get_async_connection().await.map(Connection::Cluster)
    }
}

fn info(place: ConnectionAddr) -> RedisResult<ConnectionInfo> {
    Ok(place.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

fn unreadable(what: &str, problem: &std::io::Error) -> RedisError {
    let remedy = format!("{problem}; check the path and its rights");
    RedisError::from((
        ErrorKind::InvalidClientConfig,
        "a file of the client cannot be read",
        format!("{what}: {remedy}"),
    ))
}

impl Connection {
    /// Runs a command that names no key on the server of `key`.
    #[cfg_attr(not(feature = "cluster"), allow(unused_variables))] // one server has all keys
    pub async fn run_at(&mut self, key: &str, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(connection) => connection.send_packed_command(command).await?.extract_error(),
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => {
                use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
                let route = SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master));
                connection.route_command(command.clone(), RoutingInfo::SingleNode(route)).await
            }
        }
    }

    pub async fn subscribe(&mut self, channel: &str) -> RedisResult<()> {
        match self {
            Self::One(connection) => connection.subscribe(channel).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => connection.ssubscribe(channel).await,
        }
    }

    pub async fn unsubscribe(&mut self, channel: &str) -> RedisResult<()> {
        match self {
            Self::One(connection) => connection.unsubscribe(channel).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => connection.sunsubscribe(channel).await,
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(cmd),
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(cmd, offset, count),
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
