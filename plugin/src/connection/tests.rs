use std::ffi::OsString;
use std::path::Path;

use rstest::rstest;
use tempfile::TempDir;

use super::*;

const EAST: &str = r"
apiVersion: v1
kind: Config
current-context: east
contexts:
- {name: east, context: {cluster: east, user: alice, namespace: shop}}
- {name: nobody, context: {cluster: east, user: ghost}}
- {name: broken, context: {cluster: gone, user: alice}}
clusters:
- {name: east, cluster: {server: 'https://east.example.com:6443', tls-server-name: api.east, insecure-skip-tls-verify: true}}
- {name: serverless, cluster: {}}
users:
- {name: alice, user: {token: from-east, as: chief, as-groups: [crew]}}
- {name: fetcher, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: must-not-be-run}}}
";

const WEST: &str = r"
apiVersion: v1
kind: Config
current-context: west
contexts:
- {name: west, context: {cluster: west, user: alice}}
clusters:
- {name: west, cluster: {server: 'https://west.example.com:6443'}}
- {name: east, cluster: {server: 'https://the-second-file-loses.example.com'}}
users:
- {name: alice, user: {token: from-west}}
";

fn write(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn environment(paths: &[&Path]) -> Environment {
    Environment {
        kubeconfig: Some(std::env::join_paths(paths).unwrap()),
        ..Environment::default()
    }
}

async fn configured(text: &str, flags: ConnectionFlags) -> Result<Config, ConnectionError> {
    let dir = tempfile::tempdir().unwrap();
    let file = write(&dir, "config", text);
    configure(&flags, &environment(&[&file])).await.map(|c| c.0)
}

fn flags() -> ConnectionFlags {
    ConnectionFlags::default()
}

fn token(config: &Config) -> Option<String> {
    let json = serde_json::to_value(&config.auth_info).unwrap();
    json["token"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn the_first_of_several_files_wins_and_missing_ones_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (east, west) = (write(&dir, "east", EAST), write(&dir, "west", WEST));
    let missing = dir.path().join("missing");
    let environment = environment(&[&missing, Path::new(""), &east, &west, &east]);
    let (config, context) = configure(&flags(), &environment).await.unwrap();
    assert_eq!(context.as_deref(), Some("east"));
    assert_eq!(config.cluster_url, "https://east.example.com:6443/");
    assert_eq!(token(&config).as_deref(), Some("from-east"));

    let other = ConnectionFlags {
        context: Some("west".into()),
        ..flags()
    };
    let (config, _) = configure(&other, &environment).await.unwrap();
    assert_eq!(config.cluster_url, "https://west.example.com:6443/");
    assert_eq!(
        token(&config).as_deref(),
        Some("from-east"),
        "the first alice"
    );
}

#[tokio::test]
async fn an_empty_current_context_leaves_the_choice_to_the_next_file() {
    let dir = tempfile::tempdir().unwrap();
    let first = write(&dir, "first", "current-context: ''\n");
    let west = write(&dir, "west", WEST);
    let (_, context) = configure(&flags(), &environment(&[&first, &west]))
        .await
        .unwrap();
    assert_eq!(context.as_deref(), Some("west"));
}

#[tokio::test]
async fn the_flag_names_the_only_file_and_it_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let (east, west) = (write(&dir, "east", EAST), write(&dir, "west", WEST));
    let flag = |path: &Path| ConnectionFlags {
        kubeconfig: Some(path.to_owned()),
        ..flags()
    };
    let (config, _) = configure(&flag(&west), &environment(&[&east]))
        .await
        .unwrap();
    assert_eq!(config.cluster_url, "https://west.example.com:6443/");
    let error = configure(&flag(&dir.path().join("no")), &environment(&[&east]))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("cannot read --kubeconfig "),
        "{error}"
    );
}

#[tokio::test]
async fn the_default_file_is_in_the_home_directory() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".kube")).unwrap();
    write(&dir, ".kube/config", WEST);
    let environment = Environment {
        home: Some(dir.path().to_owned()),
        ..Environment::default()
    };
    let (_, context) = configure(&flags(), &environment).await.unwrap();
    assert_eq!(context.as_deref(), Some("west"));
}

#[tokio::test]
async fn without_any_flag_the_kubeconfig_is_taken_as_it_is() {
    let config = configured(EAST, flags()).await.unwrap();
    assert_eq!(config.default_namespace, "shop");
    assert_eq!(config.tls_server_name.as_deref(), Some("api.east"));
    assert!(config.accept_invalid_certs);
    assert_eq!(config.auth_info.impersonate.as_deref(), Some("chief"));
}

#[tokio::test]
async fn another_server_does_not_inherit_the_name_of_the_first() {
    let flags = ConnectionFlags {
        server: Some("127.0.0.1:1".into()),
        ..flags()
    };
    let config = configured(EAST, flags).await.unwrap();
    assert_eq!(config.cluster_url, "https://127.0.0.1:1/");
    assert_eq!(config.tls_server_name, None);
    assert_eq!(token(&config).as_deref(), Some("from-east"));
}

#[tokio::test]
async fn an_authority_by_flag_replaces_all_that_is_said_about_trust() {
    let dir = tempfile::tempdir().unwrap();
    let authority = write(&dir, "ca.crt", "");
    let flags = ConnectionFlags {
        certificate_authority: Some(authority),
        tls_server_name: Some("api".into()),
        ..flags()
    };
    let config = configured(EAST, flags).await.unwrap();
    assert!(!config.accept_invalid_certs);
    assert_eq!(config.tls_server_name.as_deref(), Some("api"));
}

#[tokio::test]
async fn a_token_by_flag_comes_before_whatever_would_fetch_one() {
    let flags = ConnectionFlags {
        user: Some("fetcher".into()),
        token: Some("mine".into()),
        as_user: Some("bob".into()),
        as_group: vec!["a".into(), "b".into()],
        as_uid: Some("7".into()),
        ..flags()
    };
    let config = configured(EAST, flags).await.unwrap();
    assert_eq!(token(&config).as_deref(), Some("mine"));
    assert!(config.auth_info.exec.is_none());
    assert_eq!(config.auth_info.impersonate.as_deref(), Some("bob"));
    assert_eq!(config.auth_info.impersonate_uid.as_deref(), Some("7"));
    assert_eq!(config.auth_info.impersonate_groups.unwrap(), ["a", "b"]);
}

#[tokio::test]
async fn a_user_that_only_the_context_names_may_be_missing() {
    let flags = ConnectionFlags {
        context: Some("nobody".into()),
        ..flags()
    };
    let config = configured(EAST, flags).await.unwrap();
    assert_eq!(token(&config), None);
}

#[rstest]
#[case::context(ConnectionFlags { context: Some("nowhere".into()), ..flags() }, "there is no context \"nowhere\" in the kubeconfig; --context can be broken, east, nobody")]
#[case::cluster(ConnectionFlags { cluster: Some("nowhere".into()), ..flags() }, "there is no cluster \"nowhere\" in the kubeconfig; --cluster can be east, serverless")]
#[case::user(ConnectionFlags { user: Some("eve".into()), ..flags() }, "there is no user \"eve\" in the kubeconfig; --user can be alice, fetcher")]
#[case::cluster_of_context(ConnectionFlags { context: Some("broken".into()), ..flags() }, "there is no cluster \"gone\" in the kubeconfig; the context names it")]
#[case::no_server(ConnectionFlags { cluster: Some("serverless".into()), ..flags() }, "cluster \"serverless\" has no server")]
#[case::bad_server(ConnectionFlags { server: Some("ftp://x".into()), ..flags() }, "\"ftp://x\" is not an address of an API server: use https://HOST:PORT (--server)")]
#[case::authority(ConnectionFlags { certificate_authority: Some("/no/such/file".into()), ..flags() }, "cannot read --certificate-authority /no/such/file: ")]
#[case::contradiction(ConnectionFlags { certificate_authority: Some("x".into()), insecure_skip_tls_verify: Some(true), ..flags() }, "contradict each other")]
#[case::key_alone(ConnectionFlags { client_key: Some("/dev/null".into()), ..flags() }, "--client-key needs --client-certificate")]
#[tokio::test]
async fn errors_name_the_flag(#[case] flags: ConnectionFlags, #[case] message: &str) {
    let error = configured(EAST, flags).await.unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
}

#[rstest]
#[case::nothing(Environment::default())]
#[case::all_missing(Environment { kubeconfig: Some(OsString::from("/no/such/file")), ..Environment::default() })]
#[tokio::test]
async fn without_any_kubeconfig_it_says_what_to_set(#[case] environment: Environment) {
    let error = configure(&flags(), &environment).await.unwrap_err();
    assert!(matches!(error, ConnectionError::NoCluster), "{error}");
}

#[tokio::test]
async fn an_unreadable_kubeconfig_is_named() {
    let error = configured("clusters: [", flags()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot read the kubeconfig /"),
        "{error}"
    );
}
