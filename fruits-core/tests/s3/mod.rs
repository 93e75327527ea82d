//! Two servers that speak S3's protocol, on 127.0.0.1.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Config, Credentials, Region};
use fruits_core::store::{S3Store, Store};

const KEY: &str = "test-key";
const SECRET: &str = "test-secret";

/// The variable that names a Python that has moto.
pub const PYTHON: &str = "FRUITS_TEST_PYTHON";
/// The variable that names the program s3s-fs.
pub const S3S_FS: &str = "FRUITS_TEST_S3S_FS";

/// A bucket of moto's for one test.
pub async fn moto(test: &str) -> Arc<dyn Store> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| Server::start(PYTHON, &["../tests/s3_server.py"]));
    bucket(&server.endpoint, test).await
}

/// A bucket of s3s-fs' for one test.
pub async fn s3s_fs(test: &str) -> Arc<dyn Store> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let root = folder("s3s-fs", "root");
        let options = [
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--access-key",
            KEY,
            "--secret-key",
            SECRET,
        ];
        let arguments: Vec<&str> = options.into_iter().chain(root.to_str()).collect();
        Server::start(S3S_FS, &arguments)
    });
    bucket(&server.endpoint, test).await
}

/// A server that ends with this process.
struct Server {
    endpoint: String,
    _shell: Child,
}

impl Server {
    /// Starts the program that a variable names, which says somewhere in its output at which `http://` address it is.
    fn start(variable: &str, arguments: &[&str]) -> Self {
        let program = std::env::var_os(variable).expect("the variable is set");
        let mut shell = Command::new("sh")
            // Standard input ends with this process.
            .args(["-c", "exec 3<&0; \"$0\" \"$@\" <&3 & cat <&3 >/dev/null; kill $!"])
            .arg(program)
            .args(arguments)
            .env("RUST_LOG", "info")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let output = BufReader::new(shell.stdout.take().expect("standard output is piped"));
        let address = |line: String| Some(format!("http://{}", line.split_once("http://")?.1.trim()));
        let mut lines = output.lines().map_while(Result::ok);
        let endpoint = lines.by_ref().find_map(address).expect("the server says where it is");
        std::thread::spawn(move || lines.count()); // nobody waits for a reader
        Server {
            endpoint,
            _shell: shell,
        }
    }
}

/// An empty folder for one test of one store.
pub fn folder(store: &str, test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(store).join(test);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

async fn bucket(endpoint: &str, test: &str) -> Arc<dyn Store> {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new(KEY, SECRET, None, None, "test"))
        .endpoint_url(endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .force_path_style(true)
        .build();
    let client = Client::from_conf(config);
    let name = test.replace('_', "-");
    client.create_bucket().bucket(&name).send().await.unwrap();
    let location = format!("s3://{name}/Test");
    let sibling = S3Store::with_client(&format!("s3://{name}/Tests"), client.clone()).unwrap();
    sibling.put("not-below.jpg", "x".into()).await.unwrap();
    Arc::new(S3Store::with_client(&location, client).unwrap())
}
