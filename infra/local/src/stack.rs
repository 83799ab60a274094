//! Starts and stops the whole stack.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use aws_config::SdkConfig;
use tempfile::TempDir;

use crate::{
    bootstraps,
    cloud::{CA, Cloud},
    deploy::{self, Outputs},
    fleet::{Fleet, Size},
    former::{Former, clear, state},
    front,
    progress::{Progress, Stage},
    tls::{Authority, Server},
    tools::{Toolchain, cache_folder, project_folder},
};

const LOCK: &str = "lock";

/// Downloads three Python environments over a slow line.
const TOOLS_LIMIT: Duration = Duration::from_secs(900);
/// Compiles the whole workspace on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);
const CLOUD_LIMIT: Duration = Duration::from_secs(60);
const DEPLOY_LIMIT: Duration = Duration::from_secs(120);
const FLEET_LIMIT: Duration = Duration::from_secs(300);

/// Options of a stack. `LocalOptions::new(10, progress)`: free ports, a temporary folder.
#[derive(Debug)]
pub struct LocalOptions {
    /// The repository's folder; see [`project_folder`].
    pub project: PathBuf,
    /// Folder of the Python environments; see [`cache_folder`].
    pub cache: PathBuf,
    /// Folder for logs, the fleet's state and the CA certificate. Default: a temporary folder, removed at the end.
    pub data: Option<PathBuf>,
    /// Port of `https://localhost:PORT`. Default: a free one.
    pub api_port: Option<u16>,
    /// Port of the local cloud. Default: a free one.
    pub cloud_port: Option<u16>,
    /// Folder with the state of a former cloud's services, which this one begins with and keeps there. Default: none.
    pub state: Option<PathBuf>,
    /// Keep everything in `data`, and go on with what a former stack kept there: its tables, keys, messages, ports and devices.
    pub keep: bool,
    /// Remove what a former stack kept.
    pub anew: bool,
    /// Number of emulated devices; a kept stack has those that it had.
    pub devices: usize,
    /// Number of fakes of OpenBMC; as above.
    pub fakes: usize,
    /// Name of the CloudFormation stack.
    pub stack: String,
    /// The template, of SAM or CloudFormation. Default: the project's template.yaml, to which [`LocalStack::update`] goes.
    pub template: Option<PathBuf>,
    /// Parameters of template.yaml; they override the local defaults.
    pub parameters: BTreeMap<String, String>,
    pub progress: Progress,
}

impl LocalOptions {
    /// # Errors
    /// The current folder is not in a checkout, or no cache folder is known.
    pub fn new(devices: usize, progress: Progress) -> Result<Self> {
        Ok(Self {
            project: project_folder()?,
            cache: cache_folder()?,
            data: None,
            api_port: None,
            cloud_port: None,
            state: None,
            keep: false,
            anew: false,
            devices,
            fakes: 0,
            stack: "rootcast".to_owned(),
            template: None,
            parameters: BTreeMap::new(),
            progress,
        })
    }
}

/// A running stack. Dropping it ends every process; [`LocalStack::shutdown`] ends them in order and waits.
#[derive(Debug)]
pub struct LocalStack {
    /// `http://127.0.0.1:PORT`: the endpoint of every AWS API.
    pub endpoint_url: String,
    /// Configuration for the AWS SDK: this endpoint, dummy credentials and a region.
    pub sdk_config: SdkConfig,
    /// `https://localhost:PORT`: Rootcast's own API.
    pub api_url: String,
    /// PEM file with the certificate to trust for `api_url`.
    pub ca_pem: PathBuf,
    pub outputs: Outputs,
    pub fleet: Fleet,
    /// Folder of the logs: `cloud.log`, and `fleet/*/log` per device. For the functions' logs see [`Self::log`].
    pub data: PathBuf,
    /// Whether it goes on with what a former stack kept.
    pub goes_on: bool,
    tools: Toolchain,
    /// The project's template.yaml, the stack's name and its parameters.
    deployed: (PathBuf, String, BTreeMap<String, String>),
    front: Server,
    cloud: Cloud,
    _temporary: Option<TempDir>,
    /// Held as long as the stack runs, and let go by the kernel however this process ends.
    _lock: File,
}

impl LocalStack {
    /// Starts everything.
    ///
    /// # Errors
    /// The message names the failed stage and the remedy. Processes that were started are ended.
    pub async fn start(options: LocalOptions) -> Result<Self> {
        // The provider for reqwest's clients. An error means that the same one is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (data, temporary) = data_folder(options.data.as_deref())?;
        let lock = lock(&data)?;
        let progress = &options.progress;
        let former = if options.keep && !options.anew { Former::read(&data).await? } else { None };
        clear(&data, former.is_some())?;
        let state = if options.keep { Some(state(&data)?) } else { options.state };
        let cloud_port = former.map(|former| former.cloud).or(options.cloud_port);
        let api_port = options.api_port.or(former.map(|former| former.api));
        let size = Size {
            emulated: former.map_or(options.devices, |former| former.devices),
            fakes: former.map_or(options.fakes, |former| former.fakes),
        };
        let (tools, packages) = tokio::try_join!(
            progress.stage(Stage::Tools, TOOLS_LIMIT, Toolchain::prepare(&options.project, &options.cache, progress)),
            progress.stage(Stage::Build, BUILD_LIMIT, bootstraps::packages(&options.project)),
        )?;
        let yard = data.join("fleet");
        let own = options.project.join("template.yaml");
        let (fleet, (cloud, sdk_config, parameters, outputs)) = tokio::try_join!(
            progress.stage(Stage::Fleet, FLEET_LIMIT, Fleet::start(&tools, &yard, size, progress)),
            async {
                let cloud = Cloud::start(&tools, &data, cloud_port, state.as_deref());
                let cloud = progress.stage(Stage::Cloud, CLOUD_LIMIT, cloud).await?;
                let sdk_config = cloud.sdk_config();
                let parameters = parameters(&options.parameters, &cloud.endpoint);
                let deployed = async {
                    let template = options.template.as_ref().unwrap_or(&own);
                    let template = deploy::translate(&tools, template, &parameters).await?;
                    let given = match options.template {
                        // A former release's has not all of them.
                        Some(_) => deploy::known(&template, &parameters)?,
                        None => parameters.clone(),
                    };
                    match former {
                        Some(_) => deploy::update(&sdk_config, &options.stack, template, &packages, &given).await,
                        None => deploy::create(&sdk_config, &options.stack, template, &packages, &given).await,
                    }
                };
                let outputs = progress.stage(Stage::Deploy, DEPLOY_LIMIT, deployed).await?;
                Ok((cloud, sdk_config, parameters, outputs))
            },
        )?;
        let ca_pem = data.join(CA);
        let front = progress
            .stage(Stage::Front, CLOUD_LIMIT, async {
                let authority = Authority::new("Rootcast local API")?;
                std::fs::write(&ca_pem, authority.pem())?;
                front::start(&cloud.endpoint, outputs.of("ApiId")?, &authority.issue("localhost")?, api_port)
            })
            .await?;
        if options.keep {
            Former { cloud: cloud.port, api: front.port, devices: size.emulated, fakes: size.fakes }.write(&data)?;
        }
        Ok(Self {
            endpoint_url: cloud.endpoint.clone(),
            sdk_config,
            api_url: format!("https://localhost:{}", front.port),
            ca_pem,
            outputs,
            fleet,
            data,
            goes_on: former.is_some(),
            tools,
            deployed: (own, options.stack, parameters),
            front,
            cloud,
            _temporary: temporary,
            _lock: lock,
        })
    }

    /// Updates the stack to the project's template.yaml, as a deployment of the next release does. The code is the project's before
    /// and after.
    ///
    /// # Errors
    /// CloudFormation's, with those of the resources.
    pub async fn update(&self) -> Result<Outputs> {
        let (template, stack, parameters) = &self.deployed;
        let packages = bootstraps::packages(template.parent().context("the template lies in the project")?).await?;
        let template = deploy::translate(&self.tools, template, parameters).await?;
        deploy::update(&self.sdk_config, stack, template, &packages, parameters).await
    }

    /// Kills every process that runs `function` (its name, as in [`Self::outputs`]) now, as a crash would. Returns
    /// their number. Linux only: on other systems it finds none.
    ///
    /// # Errors
    /// The local cloud is gone.
    pub async fn crash(&self, function: &str) -> Result<usize> {
        self.cloud.crash(function).await
    }

    /// The log of `function` (its name, as in [`Self::outputs`]).
    ///
    /// # Errors
    /// The function never ran, or the local cloud is gone.
    pub async fn log(&self, function: &str) -> Result<String> {
        self.cloud.log(function).await
    }

    /// Ends everything in order: first the front, so no request is accepted any more, then the devices, then the
    /// cloud with its functions.
    ///
    /// # Errors
    /// A part did not end.
    pub async fn shutdown(self) -> Result<()> {
        let front = self.front.end().await;
        let (fleet, cloud) = tokio::join!(self.fleet.end(), self.cloud.end());
        front.and(fleet).and(cloud)
    }
}

/// Parameters for a local stack, overridden by the caller's.
pub(crate) fn parameters(wanted: &BTreeMap<String, String>, endpoint: &str) -> BTreeMap<String, String> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let local = [
        ("EndpointUrl", endpoint),
        ("Architecture", architecture),
        ("DeviceCidrs", "127.0.0.0/8"),
        ("HoldDownHours", "0"),
        // Emulated devices answer within seconds. An old root leaves them only when no issuer can be at work any more.
        ("DeviceTimeoutSeconds", "15"),
        ("WorkerTimeoutSeconds", "20"),
        ("IssueTimeoutSeconds", "20"),
    ];
    let local = local.map(|(name, value)| (name.to_owned(), value.to_owned()));
    local.into_iter().chain(wanted.clone()).collect()
}

/// Whether a stack runs in this folder.
pub fn is_running(data: &Path) -> bool {
    matches!(File::open(data.join(LOCK)).map(|file| file.try_lock()), Ok(Err(TryLockError::WouldBlock)))
}

fn lock(data: &Path) -> Result<File> {
    let file = File::create(data.join(LOCK)).with_context(|| format!("{} cannot be written", data.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another stack runs in {}: name another folder with --data", data.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} cannot be locked", data.display())),
    }
}

fn data_folder(given: Option<&Path>) -> Result<(PathBuf, Option<TempDir>)> {
    match given {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            let is_ours = folder.join(LOCK).exists() || std::fs::read_dir(folder)?.next().is_none();
            ensure!(is_ours, "{} has other files: name an empty folder, or one in which a stack ran", folder.display());
            Ok((folder.canonicalize()?, None))
        }
        None => {
            let folder = tempfile::Builder::new().prefix("rootcast-").tempdir()?;
            Ok((folder.path().to_owned(), Some(folder)))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::{is_running, lock};

    #[test]
    fn two_stacks_do_not_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        assert!(!is_running(data));
        let first = lock(data).unwrap();
        assert!(is_running(data));
        assert!(lock(data).unwrap_err().to_string().contains("another stack runs in"));
        drop(first);
        assert!(!is_running(data) && lock(data).is_ok());
    }
}
