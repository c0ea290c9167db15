//! Each way to log in that servers know, and the word that a wrong one gets.

use crate::bridge::{Bridge, Setup};
use crate::host::Host;
use crate::plain::Plain;
use crate::servers::Servers;
use async_nats::ConnectOptions;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use nlbus_tests::cases;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

cases![
    by_user_and_password,
    by_a_token,
    by_an_nkey,
    by_a_credentials_file,
    over_tls,
    over_tls_with_a_certificate,
    a_login_that_is_taken_back_is_tried_again,
];

const RULES: &str = "[[out]]\ntopics = [\"out/#\"]\n[[in]]\nsubjects = [\"in.>\"]\n";

/// A bridge with these tables works both ways.
fn works(host: &Host, servers: &Servers, tables: &str, setup: &Setup, client: &Plain) {
    let heard = client.listen("out.>");
    let mut bridge = Bridge::start_with(host, servers, &format!("{tables}\n{RULES}"), setup);
    bridge.wait_ready();
    let bus = host.connect();
    let mut arriving = bus.subscribe("in/#").expect("to subscribe");
    bus.publish("out/x", "there").expect("to publish");
    assert_eq!(&heard.wait(1)[0].payload[..], b"there");
    client.publish("in.x", "here");
    let came = arriving.recv_timeout(nlbus_tests::patience()).expect("an event").into_event().expect("an event");
    assert_eq!(came.payload(), b"here");
    bridge.terminate();
}

/// A bridge with these tables ends, and says why in one line that has all these words.
fn fails(host: &Host, servers: &Servers, tables: &str, setup: &Setup, words: &[&str]) {
    let mut bridge = Bridge::start_with(host, servers, &format!("{tables}\n{RULES}"), setup);
    let (code, said) = bridge.ends();
    assert_eq!(code, Some(1), "{tables}: {said:#?}");
    let last = said.last().cloned().unwrap_or_default();
    assert!(words.iter().all(|word| last.contains(word)), "{tables}: {said:#?}");
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("to write a file");
    path.display().to_string()
}

fn by_user_and_password() {
    let servers = Servers::with(1, "authorization { user: u, password: right }");
    let host = Host::new("a", 1);
    let right = write(servers.folder(), "right", "right\n");
    let wrong = write(servers.folder(), "wrong", "wrong\n");
    let options = ConnectOptions::with_user_and_password("u".into(), "right".into());
    let client = Plain::connect_with(&servers.urls("127.0.0.1"), options);
    let none = Setup::default();
    works(&host, &servers, &format!("[auth]\nuser = \"u\"\npassword_file = {right:?}"), &none, &client);
    works(&host, &servers, "[auth]\nuser = \"u\"\npassword = \"right\"", &none, &client);
    let words = ["can't connect", "10.9.1.1:4222", "login"];
    fails(&host, &servers, &format!("[auth]\nuser = \"u\"\npassword_file = {wrong:?}"), &none, &words);
    fails(&host, &servers, "", &none, &words);
    fails(&host, &servers, "[auth]\nuser = \"u\"\npassword_file = \"/none\"", &none, &["/none", "can't read"]);
}

fn by_a_token() {
    let servers = Servers::with(1, "authorization { token: right }");
    let host = Host::new("a", 1);
    let right = write(servers.folder(), "right", "right\n");
    let wrong = write(servers.folder(), "wrong", "wrong\n");
    let client = Plain::connect_with(&servers.urls("127.0.0.1"), ConnectOptions::with_token("right".into()));
    works(&host, &servers, &format!("[auth]\ntoken_file = {right:?}"), &Setup::default(), &client);
    fails(&host, &servers, &format!("[auth]\ntoken_file = {wrong:?}"), &Setup::default(), &["can't connect", "login"]);
}

fn by_an_nkey() {
    let (user, other) = (KeyPair::new_user(), KeyPair::new_user());
    let servers = Servers::with(1, &format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key()));
    let host = Host::new("a", 1);
    let seed = user.seed().expect("a seed");
    let right = write(servers.folder(), "right", &format!("{seed}\n"));
    let wrong = write(servers.folder(), "wrong", &other.seed().expect("a seed"));
    let none = write(servers.folder(), "none", "no seed");
    let client = Plain::connect_with(&servers.urls("127.0.0.1"), ConnectOptions::with_nkey(seed));
    works(&host, &servers, &format!("[auth]\nnkey = {right:?}"), &Setup::default(), &client);
    fails(&host, &servers, &format!("[auth]\nnkey = {wrong:?}"), &Setup::default(), &["can't connect", "login"]);
    fails(&host, &servers, &format!("[auth]\nnkey = {none:?}"), &Setup::default(), &["seed"]);
}

/// A JSON web token as NATS has them (its ADR-14): signed by an NKey.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, claims: Value) -> String {
    let encode = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let body = encode(json!({
        "jti": name, "iat": 1, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "nats": claims
    }));
    let signed = format!("{head}.{body}");
    let signature = issuer.sign(signed.as_bytes()).expect("to sign");
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn by_a_credentials_file() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let no_limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1
    });
    let of_operator = token(&operator, &operator, "o", json!({"type": "operator", "version": 2}));
    let of_account = json!({"type": "account", "version": 2, "limits": no_limits});
    let of_account = token(&operator, &account, "a", of_account);
    let of_user = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
    let credentials = |issuer: &KeyPair| {
        let (token, seed) = (token(issuer, &user, "u", of_user.clone()), user.seed().expect("a seed"));
        format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    };
    let servers = Servers::without_jetstream(&format!(
        "operator: {of_operator}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account} }}",
        account.public_key()
    ));
    let host = Host::new("a", 1);
    let right = write(servers.folder(), "right.creds", &credentials(&account));
    let wrong = write(servers.folder(), "wrong.creds", &credentials(&KeyPair::new_account()));
    let none = write(servers.folder(), "none.creds", "nothing of the kind");
    let options = ConnectOptions::with_credentials(&credentials(&account)).expect("credentials");
    let client = Plain::connect_with(&servers.urls("127.0.0.1"), options);
    works(&host, &servers, &format!("[auth]\ncredentials = {right:?}"), &Setup::default(), &client);
    fails(&host, &servers, &format!("[auth]\ncredentials = {wrong:?}"), &Setup::default(), &["can't connect", "login"]);
    fails(&host, &servers, &format!("[auth]\ncredentials = {none:?}"), &Setup::default(), &["none.creds"]);
    fails(&host, &servers, "[auth]\ncredentials = \"/none.creds\"", &Setup::default(), &["/none.creds", "can't read"]);
}

/// Makes a certificate: of an authority, or of somebody whom one signs for.
fn certificate(folder: &Path, name: &str, authority: Option<&str>) {
    let config = folder.join("openssl.cnf");
    let text = "[req]\ndistinguished_name = name\n[name]\n\
                [ca]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = keyCertSign\n\
                [leaf]\nbasicConstraints = CA:FALSE\nsubjectAltName = IP:127.0.0.1,IP:10.9.1.1\n";
    fs::write(&config, text).expect("to write openssl's file");
    let file = |name: &str| folder.join(name).display().to_string();
    let (key, cert) = (file(&format!("{name}.key")), file(&format!("{name}.pem")));
    let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let (subject, config) = (format!("/CN={name}"), config.display().to_string());
    args.extend(["-keyout", &key, "-out", &cert, "-subj", &subject, "-config", &config]);
    let signer = authority.map(|authority| (file(&format!("{authority}.pem")), file(&format!("{authority}.key"))));
    match &signer {
        None => args.extend(["-extensions", "ca"]),
        Some((cert, key)) => args.extend(["-CA", cert, "-CAkey", key, "-extensions", "leaf"]),
    }
    let output = Command::new("openssl").args(args).output().unwrap_or_else(|error| panic!("openssl: {error}"));
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}

/// Certificates of an authority, a server and a client; and those of another authority.
fn certificates(folder: &Path) {
    certificate(folder, "ca", None);
    certificate(folder, "other-ca", None);
    certificate(folder, "server", Some("ca"));
    certificate(folder, "client", Some("ca"));
    certificate(folder, "other-client", Some("other-ca"));
}

fn over_tls() {
    let mut servers = Servers::none();
    certificates(servers.folder());
    servers.add(1, "tls { cert_file: \"{folder}/server.pem\", key_file: \"{folder}/server.key\" }");
    let host = Host::new("a", 1);
    let file = |name: &str| servers.folder().join(name);
    let options = ConnectOptions::new().add_root_certificates(file("ca.pem")).require_tls(true);
    let client = Plain::connect_with(&servers.urls("127.0.0.1"), options);
    let (right, wrong) = (file("ca.pem"), file("other-ca.pem"));
    works(&host, &servers, &format!("[tls]\nca = {right:?}"), &Setup::default(), &client);
    let by_url = Setup { servers: Some(vec!["tls://10.9.1.1:4222".into()]), ..Setup::default() };
    works(&host, &servers, &format!("[tls]\nca = {right:?}"), &by_url, &client);
    fails(&host, &servers, &format!("[tls]\nca = {wrong:?}"), &Setup::default(), &["can't connect", "certificate"]);
    // Nobody of the system's list has signed it, and nobody asked for anything.
    fails(&host, &servers, "", &Setup::default(), &["can't connect", "certificate"]);
    fails(&host, &servers, "[tls]\nca = \"/none.pem\"", &Setup::default(), &["/none.pem", "can't read"]);
}

fn over_tls_with_a_certificate() {
    let mut servers = Servers::none();
    certificates(servers.folder());
    servers.add(
        1,
        "tls { cert_file: \"{folder}/server.pem\", key_file: \"{folder}/server.key\", ca_file: \"{folder}/ca.pem\", verify: true }",
    );
    let host = Host::new("a", 1);
    let file = |name: &str| servers.folder().join(name);
    let options = ConnectOptions::new()
        .add_root_certificates(file("ca.pem"))
        .add_client_certificate(file("client.pem"), file("client.key"));
    let client = Plain::connect_with(&servers.urls("127.0.0.1"), options);
    let tables = |name: &str| {
        let (ca, cert, key) = (file("ca.pem"), file(&format!("{name}.pem")), file(&format!("{name}.key")));
        format!("[tls]\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}")
    };
    works(&host, &servers, &tables("client"), &Setup::default(), &client);
    fails(&host, &servers, &tables("other-client"), &Setup::default(), &["can't connect", "certificate"]);
    let ca = file("ca.pem");
    fails(&host, &servers, &format!("[tls]\nca = {ca:?}"), &Setup::default(), &["can't connect", "certificate"]);
}

fn a_login_that_is_taken_back_is_tried_again() {
    let mut servers = Servers::with(1, "authorization { user: u, password: right }");
    let host = Host::new("a", 1);
    let tables = "[auth]\nuser = \"u\"\npassword = \"right\"\n";
    let mut bridge = Bridge::start_with(&host, &servers, &format!("{tables}{RULES}"), &Setup::default());
    bridge.wait_ready();
    servers.kill(0);
    servers.configure("authorization { user: u, password: other }");
    servers.start(0);
    // It says so, and goes on trying: whoever changes passwords does it one place after the other.
    bridge.program().hear("uthorization");
    servers.kill(0);
    servers.configure("authorization { user: u, password: right }");
    servers.start(0);
    bridge.wait_for_metric(&host, "nlbus_nats_connected", 1);
    let client = {
        let options = ConnectOptions::with_user_and_password("u".into(), "right".into());
        Plain::connect_with(&servers.urls("127.0.0.1"), options)
    };
    let heard = client.listen("out.>");
    host.connect().publish("out/x", "there").expect("to publish");
    heard.wait(1);
}
