//! `rootcast certificate`: imported certificates, and their deployment to devices; what our roots signed, and its
//! revocation.

mod revocation;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use reqwest::Method;
use rootcast_pki::export;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use self::revocation::Revoke;
use crate::{
    access::password,
    api::Api,
    ask,
    exit::{End, Usage},
    output::{self, Format, dry, note, out, plain, table},
};

const CERTIFICATES: &str = "/v3/scm/certificates";
/// The largest page of the vendor's API.
const PAGE: &str = "50";

#[derive(Debug, Subcommand)]
pub(crate) enum CertificateCommand {
    /// Import a certificate with its chain and private key
    Import(Import),
    /// List certificates, the first to expire first
    List(List),
    /// Show a certificate
    Show(Which),
    /// Find certificates by name or domain
    Find(Find),
    /// Print certificate, chain and private key as PEM, or write them to a file; requires the permission export-key
    Export(Export),
    /// Delete a certificate that no device has; asks before
    Delete(Delete),
    /// Deploy a certificate to devices; follow it with `rootcast job watch`
    Deploy(Deploy),
    /// List everything that our authorities ever signed for devices, the latest first
    Signed,
    /// Revoke what one of our authorities signed, also after it was renewed or deleted; this cannot be undone
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// scs and 13 digits
    id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Find {
    /// A name, a domain, or a part of one
    #[arg(value_name = "NAME")]
    text: String,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    which: Which,
    /// Write it to this file, which only you may read and which must not exist yet
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write it to this PKCS #12 file, under a password that is asked for: AES-256, and a MAC with SHA-256
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    p12: Option<PathBuf>,
    /// Read that password from standard input, a line break at its end left out
    #[arg(long, requires = "p12")]
    password_stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    which: Which,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// 3 to 63 letters, digits, underscores, dots and hyphens; unique within its folder
    #[arg(long)]
    name: String,
    /// Folder, its parts separated by backslashes
    #[arg(long)]
    folder: Option<String>,
    /// PEM file: the certificate, with or without its chain, in any order
    #[arg(long, value_name = "FILE", required_unless_present = "pkcs12", requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file: the chain, where the first file is the certificate alone
    #[arg(long, value_name = "FILE", requires = "certificate")]
    chain: Option<PathBuf>,
    /// PEM file: the private key, not encrypted; - for standard input
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// PKCS #12 file in place of the PEM files
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate", "chain", "key"], requires = "password_file")]
    pkcs12: Option<PathBuf>,
    /// File that holds the PKCS #12 file's password; - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Refuse a certificate that is stored already under another name
    #[arg(long)]
    unique: bool,
    /// Store a chain whose end is neither in the files nor known; nothing is proven of it then
    #[arg(long)]
    allow_incomplete_chain: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct List {
    /// Only certificates with this text in their name or domains
    #[arg(long)]
    pub(crate) content: Option<String>,
    /// Only expired certificates
    #[arg(long)]
    pub(crate) expired: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// scs and 13 digits
    id: String,
    /// Ids of at most 20 devices
    #[arg(required = true, num_args = 1..=20)]
    devices: Vec<String>,
    /// Say which devices would get it, and which would not, and send it to none
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(api: &Api, command: CertificateCommand, format: Format) -> Result<End> {
    match command {
        CertificateCommand::Import(import) => bring(api, &import, format).await,
        CertificateCommand::List(list) => show_all(api, &list, format).await,
        CertificateCommand::Show(Which { id }) => {
            let shown: Map<String, Value> = api.get_plain(&path(&id), &[]).await?;
            match format {
                Format::Json => output::json(&shown)?,
                Format::Text => {
                    for (name, value) in shown.iter().filter(|(_, value)| !value.is_null() && **value != json!([])) {
                        out!("{name:22}{}", plain(&text(value)));
                    }
                }
            }
            Ok(End::Done)
        }
        CertificateCommand::Find(Find { text }) => {
            let found = all(api, &List { content: Some(text), expired: false }).await?;
            let is_none = found.is_empty();
            tell(&found, format)?;
            Ok(End::unless(is_none))
        }
        CertificateCommand::Export(Export { which: Which { id }, out, p12, password_stdin }) => {
            let password = match p12 {
                Some(_) => Some(password::read(password_stdin).await?),
                None => None,
            };
            if password.as_ref().is_some_and(|password| password.is_empty()) {
                return Err(Usage("the password is empty: the file would be open to everybody".to_owned()).into());
            }
            bring_out(api, &id, out.or(p12).as_deref(), password, format).await
        }
        CertificateCommand::Delete(Delete { which: Which { id }, yes }) => {
            if !ask::is_meant(yes, &format!("Delete certificate {}, and its private key?", plain(&id)), &id).await? {
                note!("Nothing is deleted.");
                return Ok(End::Failed);
            }
            api.send_plain::<Value>(Method::DELETE, &path(&id), None::<&Value>).await?;
            match format {
                Format::Json => output::json(&json!({ "deleted": id }))?,
                Format::Text => out!("{} is deleted.", plain(&id)),
            }
            Ok(End::Done)
        }
        CertificateCommand::Deploy(deploy) => send(api, &deploy, format).await,
        CertificateCommand::Signed => revocation::signed(api, format).await,
        CertificateCommand::Revoke(revoke) => revocation::revoke(api, &revoke, format).await,
    }
}

fn path(id: &str) -> String {
    format!("{CERTIFICATES}/{id}")
}

async fn bring(api: &Api, import: &Import, format: Format) -> Result<End> {
    let mut body = json!({ "name": import.name, "duplicate_check": import.unique });
    if import.allow_incomplete_chain {
        body["allow_incomplete_chain"] = json!(true);
    }
    let mut set = |field: &str, value: Option<String>| {
        if let Some(value) = value {
            body[field] = Value::String(value);
        }
    };
    set("folder", import.folder.clone());
    let file = |path: &Option<PathBuf>| path.as_deref().map(read_text).transpose();
    set("certificate", file(&import.certificate)?);
    set("certificate_chain", file(&import.chain)?);
    set("private_key", file(&import.key)?);
    set("pkcs12_password", file(&import.password_file)?.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()));
    let pkcs12 = import.pkcs12.as_deref().map(read).transpose()?;
    set("pkcs12", pkcs12.map(|bytes| BASE64_STANDARD.encode(bytes)));
    let imported: Value = api.send_plain(Method::POST, &format!("{CERTIFICATES}/import"), Some(&body)).await?;
    for warning in imported["warnings"].as_array().into_iter().flatten() {
        note!("{}", plain(&text(warning)));
    }
    if imported["purposes"] == json!(["client"]) {
        note!("It is for TLS clients only: it cannot be deployed to a device, whose web server would show it.");
    }
    match format {
        Format::Json => output::json(&imported)?,
        Format::Text => out!("{}", plain(&text(&imported["certificate_id"]))),
    }
    Ok(End::Done)
}

/// The file is made before the key leaves the API, where the audit record says so.
async fn bring_out(
    api: &Api,
    id: &str,
    out: Option<&Path>,
    password: Option<Zeroizing<String>>,
    format: Format,
) -> Result<End> {
    let file = out.map(private).transpose()?;
    let nothing = None::<&Value>;
    let kept = api.send_plain::<Value>(Method::POST, &format!("{}/export", path(id)), nothing).await;
    let kept = match (kept, out) {
        (Err(error), Some(out)) => {
            let _ = std::fs::remove_file(out);
            return Err(error.into());
        }
        (kept, _) => kept?,
    };
    let part = |name: &str| kept[name].as_str().unwrap_or_default();
    let content = match &password {
        Some(password) => {
            let mut random = [[0; 16]; 5];
            for each in &mut random {
                getrandom::fill(each).context("the operating system gives no random numbers")?;
            }
            let made = export::pkcs12(id, part("entire_certificate"), part("private_key"), password, &random);
            Zeroizing::new(made.inspect_err(|_| out.into_iter().for_each(|out| drop(std::fs::remove_file(out))))?)
        }
        None => {
            let parts = ["entire_certificate", "private_key"];
            Zeroizing::new(parts.map(|name| format!("{}\n", part(name).trim_end())).concat().into_bytes())
        }
    };
    match (file, out) {
        (Some(mut file), Some(out)) => {
            file.write_all(&content).with_context(|| format!("{} cannot be written", out.display()))?;
            match format {
                Format::Json => output::json(&json!({ "id": id, "file": out }))?,
                Format::Text => out!("Certificate, chain and private key of {} are in {}.", plain(id), out.display()),
            }
        }
        _ if format == Format::Json => output::json(&kept)?,
        _ => out!("{}", String::from_utf8_lossy(&content).trim_end()),
    }
    Ok(End::Done)
}

/// A new file for its owner alone.
fn private(file: &Path) -> Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let options = &mut std::fs::OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(file);
    made.with_context(|| format!("{} cannot be made", file.display()))
}

async fn show_all(api: &Api, list: &List, format: Format) -> Result<End> {
    tell(&all(api, list).await?, format)?;
    Ok(End::Done)
}

/// The first to expire first.
pub(crate) async fn all(api: &Api, list: &List) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let mut query = vec![("limit", PAGE), ("sort_key", "certExpiredTime"), ("sort_dir", "ASC")];
        query.extend(list.content.as_deref().map(|content| ("content", content)));
        query.extend(list.expired.then_some(("status", "EXPIRED")));
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let mut page: Value = api.get_plain(CERTIFICATES, &query).await?;
        if let Value::Array(items) = page["certificates"].take() {
            found.extend(items);
        }
        match page["cursor"].take() {
            Value::String(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
            _ => return Ok(found),
        }
    }
}

fn tell(found: &[Value], format: Format) -> Result<()> {
    match format {
        Format::Json => output::list(found)?,
        Format::Text if found.is_empty() => note!("No certificates."),
        Format::Text => {
            let row = |item: &Value| ["id", "name", "domain", "expire_time", "status"].map(|field| text(&item[field]));
            out!(
                "{}",
                table(["id", "name", "domain", "expires", "status"], &found.iter().map(row).collect::<Vec<_>>())
            );
        }
    }
    Ok(())
}

async fn send(api: &Api, deploy: &Deploy, format: Format) -> Result<End> {
    let resources: Vec<Value> = deploy.devices.iter().map(|id| json!({ "id": id })).collect();
    let body = json!({ "service_name": "DEVICE", "resources": resources });
    let (to, query) = (format!("{}/deploy", path(&deploy.id)), dry(deploy.dry_run));
    let answer: Value = api.send_plain_with(Method::POST, &to, &query, Some(&body)).await?;
    let refused = answer["failure_list"].as_array().cloned().unwrap_or_default();
    match format {
        Format::Json => output::json(&answer)?,
        Format::Text => {
            for failure in &refused {
                note!("{}: {}", plain(&text(&failure["resource"])), plain(&text(&failure["failure_info"])));
            }
            for device in answer["would_deploy"].as_array().into_iter().flatten() {
                out!("{}: would get it", plain(&text(device)));
            }
            if let Some(job) = answer["job_id"].as_u64() {
                out!(
                    "Job {job} deploys it to {} devices: rootcast job watch {job}",
                    deploy.devices.len() - refused.len()
                );
            }
        }
    }
    Ok(End::unless(!refused.is_empty()))
}

/// A string without its quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let opened = if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    opened.with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(bytes)
}

fn read_text(file: &Path) -> Result<String> {
    String::from_utf8(read(file)?).with_context(|| format!("{} is not text: is it PEM?", file.display()))
}
