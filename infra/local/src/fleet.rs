//! The demo fleet: OpenStack's Redfish emulator, one process per device, each with its own certificate, password and
//! port; and fakes of OpenBMC in this process, which take certificates of their own.
//!
//! A folder with a fleet is its state: started there again, every device has its port, its password and its certificates.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use rootcast_core::device::Pin;
use rootcast_fake::{Fake, Model, PASSWORD, USER};
use rootcast_pki::fingerprint::Fingerprint;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout},
    sync::Mutex,
};

use crate::{
    cloud::{free_ports, freed},
    leash::{Leashed, Spawn, tail},
    progress::{Progress, Stage},
    tls::Identity,
    tools::Toolchain,
};

/// A device's start takes about a tenth of a second of one core; more at once would only share the cores.
const STARTED_AT_ONCE: usize = 4;
const READY_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(25);
const USERNAME: &str = "rootcast";

/// What an emulated device is made from, beside its certificate and key.
const DEVICE: &str = "device.json";
/// What a fake holds, and where it listens.
const FAKE: &str = "fake.json";
const PORT: &str = "port";

/// How many devices a fleet has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) emulated: usize,
    pub(crate) fakes: usize,
}

/// One device.
#[derive(Clone, Serialize, Deserialize)]
pub struct Device {
    /// `bmc-0001`, …; a fake is `openbmc-fake-1`, …
    pub id: String,
    profile: String,
    pub port: u16,
    pub username: String,
    pub password: String,
    /// The UUID of its only system: `/redfish/v1/Systems/{system}`.
    pub system: String,
    folder: PathBuf,
    /// The TLS certificate that it was made with, DER.
    #[serde(skip)]
    pub certificate: Vec<u8>,
}

impl Device {
    /// `https://127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Name of the SSM parameter with the device's password.
    pub fn credential(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.id)
    }

    /// The body of its `POST /devices`. Its certificate was created here, so the pin is known and no approval is
    /// needed.
    pub fn enrolment(&self, prefix: &str) -> Value {
        json!({
            "id": self.id,
            "address": self.address(),
            "driver": "redfish",
            "profile": self.profile,
            "credential": self.credential(prefix),
            "pins": [Pin::Certificate(Fingerprint::of(&self.certificate)).to_string()],
        })
    }

    /// A client that trusts this device's certificate only.
    pub(crate) fn client(&self) -> Result<reqwest::Client> {
        let certificate = reqwest::Certificate::from_der(&self.certificate)?;
        Ok(reqwest::Client::builder().tls_certs_only([certificate]).https_only(true).build()?)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("id", &self.id).field("port", &self.port).finish_non_exhaustive()
    }
}

/// All devices, and the supervisor (`fleet.py`) that starts and stops their processes.
#[derive(Debug)]
pub struct Fleet {
    devices: BTreeMap<String, Device>,
    fakes: Vec<(Device, Fake)>,
    yard: Mutex<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
    process: Leashed,
}

impl Fleet {
    /// Starts the devices whose files are below `folder`, and creates what is missing; returns when all of them answer.
    pub(crate) async fn start(tools: &Toolchain, folder: &Path, size: Size, progress: &Progress) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let script = tools.scripts.join("fleet.py");
        let command =
            Spawn { python: &tools.devices, arguments: vec![script.as_os_str()], environment: vec![], talks: true };
        let mut process = Leashed::start("the demo fleet", command, folder, folder.join("yard.log"))?;
        let (commands, answers) = process.pipes()?;
        let devices = emulated(folder, size.emulated).await?;
        let count = devices.len();
        let mut fakes = Vec::new();
        for number in 1..=size.fakes {
            fakes.push(fake(folder, number).await?);
        }
        let fleet = Self {
            devices: devices.into_iter().map(|device| (device.id.clone(), device)).collect(),
            fakes,
            yard: Mutex::new((commands, BufReader::new(answers).lines())),
            process,
        };
        let mut ready = stream::iter(fleet.devices.keys()).map(|id| fleet.run(id)).buffer_unordered(STARTED_AT_ONCE);
        let mut done = 0;
        while ready.try_next().await?.is_some() {
            done += 1;
            progress.advanced(Stage::Fleet, done, count);
        }
        drop(ready);
        Ok(fleet)
    }

    /// The fakes of OpenBMC, in the order of their ids.
    pub fn fakes(&self) -> impl ExactSizeIterator<Item = &Device> {
        self.fakes.iter().map(|(device, _)| device)
    }

    /// The emulated ones, in the order of their ids.
    pub fn devices(&self) -> impl ExactSizeIterator<Item = &Device> {
        self.devices.values()
    }

    /// # Errors
    /// There is no such device.
    pub fn device(&self, id: &str) -> Result<&Device> {
        self.devices.get(id).with_context(|| format!("the fleet has no device {id}"))
    }

    /// Starts a stopped device, with its former state, and waits until it answers.
    ///
    /// # Errors
    /// The device is running already, or does not answer in time; the message has the end of its log.
    pub async fn run(&self, id: &str) -> Result<()> {
        let device = self.device(id)?;
        let mut command = serde_json::to_value(device)?;
        command["do"] = "start".into();
        self.tell(&command).await?;
        tokio::time::timeout(READY_LIMIT, answering(device))
            .await
            .map_err(|_| anyhow::anyhow!("{id} does not answer:\n{}", tail(&device.folder.join("log"))))?
    }

    /// Ends a device at once, like a power cut. From then on, connections to it are refused.
    ///
    /// # Errors
    /// The device is not running.
    pub async fn stop(&self, id: &str) -> Result<()> {
        self.tell(&json!({"do": "stop", "id": id})).await
    }

    /// Makes a device hang: the kernel accepts connections, and nothing answers.
    ///
    /// # Errors
    /// The device is not running.
    pub async fn hang(&self, id: &str) -> Result<()> {
        self.tell(&json!({"do": "hang", "id": id})).await
    }

    /// Lets a hanging device continue.
    ///
    /// # Errors
    /// The device is not running.
    pub async fn resume(&self, id: &str) -> Result<()> {
        self.tell(&json!({"do": "resume", "id": id})).await
    }

    async fn tell(&self, command: &Value) -> Result<()> {
        #[derive(Deserialize)]
        struct Answer {
            error: Option<String>,
        }
        let mut yard = self.yard.lock().await;
        yard.0.write_all(format!("{command}\n").as_bytes()).await.context("the yard of the fleet is gone")?;
        let answer = yard.1.next_line().await?.context("the yard of the fleet is gone")?;
        if let Some(error) = serde_json::from_str::<Answer>(&answer)?.error {
            bail!("{}: cannot {}: {error}", command["id"], command["do"]);
        }
        Ok(())
    }

    pub(crate) async fn end(self) -> Result<()> {
        for (_, fake) in self.fakes {
            fake.end().await;
        }
        drop(self.yard);
        self.process.end().await
    }
}

/// The emulated devices below this folder: those that are there, and as many more as are missing.
async fn emulated(folder: &Path, count: usize) -> Result<Vec<Device>> {
    let mut devices = Vec::new();
    for number in 1..=count {
        let folder = folder.join(format!("bmc-{number:04}"));
        let device = if folder.join(DEVICE).exists() { again(folder).await } else { make(folder, free_ports(1)?[0]) };
        devices.push(device?);
    }
    Ok(devices)
}

/// A device that was made before.
async fn again(folder: PathBuf) -> Result<Device> {
    let device = || {
        let mut device: Device = serde_json::from_slice(&std::fs::read(folder.join(DEVICE))?)?;
        device.certificate = CertificateDer::from_pem_file(folder.join("certificate.pem"))?.to_vec();
        anyhow::Ok(device)
    };
    let mut device = device().with_context(|| format!("{} has no device that can be started", folder.display()))?;
    device.folder = folder;
    freed(device.port, &device.id).await?;
    Ok(device)
}

/// Creates a device's folder, certificate and password.
fn make(folder: PathBuf, port: u16) -> Result<Device> {
    let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::fs::create_dir_all(&folder)?;
    let (identity, certificate) = Identity::self_signed(&id)?;
    std::fs::write(folder.join("certificate.pem"), identity.chain)?;
    std::fs::write(folder.join("key.pem"), identity.key)?;
    let mut secret = [0; 12];
    getrandom::fill(&mut secret)?;
    let device = Device {
        id,
        profile: "vmedia".to_owned(),
        port,
        username: USERNAME.to_owned(),
        password: hex::encode(secret),
        system: uuid::Uuid::new_v4().to_string(),
        folder,
        certificate: certificate.to_vec(),
    };
    // Last: whoever finds it finds the rest.
    std::fs::write(device.folder.join(DEVICE), serde_json::to_vec(&device)?)?;
    Ok(device)
}

/// Starts a fake, which lives in this process until it ends.
async fn fake(folder: &Path, number: usize) -> Result<(Device, Fake)> {
    let id = format!("openbmc-fake-{number}");
    let folder = folder.join(&id);
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(PORT);
    let port = match std::fs::read(&file) {
        Ok(port) => serde_json::from_slice(&port)?,
        Err(_) => free_ports(1)?[0],
    };
    freed(port, &id).await?;
    let fake = Fake::start_from(&folder.join(FAKE), Model::OpenBmc, port)?;
    std::fs::write(file, port.to_string())?;
    let device = Device {
        id,
        profile: "openbmc".to_owned(),
        port,
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
        system: String::new(),
        folder,
        certificate: fake.certificate(),
    };
    Ok((device, fake))
}

/// The service root needs no password. The request also warms the emulator up, whose first request loads modules.
async fn answering(device: &Device) -> Result<()> {
    let client = device.client()?;
    let root = format!("{}/redfish/v1/", device.address());
    loop {
        if client.get(&root).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Stores each device's password where the worker reads it: an SSM SecureString named `prefix` + id.
///
/// # Errors
/// The parameter store refused a call.
pub async fn store_credentials<'a>(
    config: &aws_config::SdkConfig,
    prefix: &str,
    devices: impl IntoIterator<Item = &'a Device>,
) -> Result<()> {
    let store = aws_sdk_ssm::Client::new(config);
    let puts = devices.into_iter().map(|device| {
        let put = store
            .put_parameter()
            .name(device.credential(prefix))
            .r#type(aws_sdk_ssm::types::ParameterType::SecureString)
            .overwrite(true)
            .value(json!({"username": device.username, "password": device.password}).to_string());
        async move { put.send().await.with_context(|| format!("the password of {} could not be stored", device.id)) }
    });
    stream::iter(puts).buffer_unordered(STARTED_AT_ONCE).try_for_each(|_| async { Ok(()) }).await
}
