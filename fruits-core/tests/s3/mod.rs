//! Two servers that speak S3's protocol, on 127.0.0.1.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Config, Credentials, Region};
use fruits_core::store::{S3Store, Store};
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

const KEY: &str = "test-key";
const SECRET: &str = "test-secret";

/// A bucket of moto's for one test, if the variable `FRUITS_TEST_PYTHON` names a Python that has moto.
pub async fn moto(test: &str) -> Option<Arc<dyn Store>> {
    // The server ends with its standard input, so with this process.
    static SERVER: OnceLock<Option<(Child, String)>> = OnceLock::new();
    let start = |python| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/s3_server.py");
        let mut server = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let mut output = BufReader::new(server.stdout.as_mut().expect("standard output is piped"));
        output.read_line(&mut line).expect("the server says where it is");
        (server, line.trim().to_owned())
    };
    let server = SERVER.get_or_init(|| std::env::var_os("FRUITS_TEST_PYTHON").map(start));
    bucket(&server.as_ref()?.1, test).await
}

/// A bucket of s3s-fs' for one test.
pub async fn s3s_fs(test: &str) -> Option<Arc<dyn Store>> {
    let service = {
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder("s3s-fs", test)).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        builder.build()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                // A client that goes away is none of this test's concern.
                let _ = server.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    bucket(&endpoint, test).await
}

/// An empty folder for one test of one store.
pub fn folder(store: &str, test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(store).join(test);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

async fn bucket(endpoint: &str, test: &str) -> Option<Arc<dyn Store>> {
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
    Some(Arc::new(S3Store::with_client(&location, client).unwrap()))
}
