//! The krew manifest: read from the template `krew-manifest.yaml`, rendered for the existing archives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::platform::Platform;

const VERSION: &str = "$VERSION";
const SHA256: &str = "$SHA256";

/// A krew manifest, in the fields and in the order of krew's own documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Manifest {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    version: String,
    homepage: String,
    short_description: String,
    description: String,
    caveats: String,
    platforms: Vec<Target>,
}

/// One platform of the manifest, and where its archive is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    selector: Selector,
    uri: String,
    sha256: String,
    bin: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    match_labels: Platform,
}

/// Why the template cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    #[error("krew-manifest.yaml is not the manifest it should be")]
    Parse(#[source] Box<serde_saphyr::Error>),
    #[error("krew-manifest.yaml: {field} of {platform} is {value:?}, without {placeholder}")]
    NoPlaceholder {
        field: &'static str,
        platform: Platform,
        value: String,
        placeholder: &'static str,
    },
    #[error("krew-manifest.yaml: {0} is listed twice")]
    Twice(Platform),
    #[error("krew-manifest.yaml lists no platform {platform}, only {listed}")]
    NotListed { platform: Platform, listed: String },
    #[error("the manifest cannot be written as YAML")]
    Render(#[source] Box<serde_saphyr::ser_error::Error>),
}

impl Manifest {
    /// Reads the template and fills in the version, without its leading `v`.
    pub(super) fn from_template(template: &str, version: &str) -> Result<Self, ManifestError> {
        let mut manifest: Self = serde_saphyr::from_str(template)
            .map_err(|error| ManifestError::Parse(Box::new(error)))?;
        let version = format!("v{version}");
        let mut seen = Vec::new();
        for target in &mut manifest.spec.platforms {
            let platform = target.platform();
            if seen.contains(&platform) {
                return Err(ManifestError::Twice(platform));
            }
            seen.push(platform);
            let missing = |field, value: &str, placeholder| ManifestError::NoPlaceholder {
                field,
                platform,
                value: value.to_owned(),
                placeholder,
            };
            if !target.uri.contains(VERSION) {
                return Err(missing("uri", &target.uri, VERSION));
            }
            if target.sha256 != SHA256 {
                return Err(missing("sha256", &target.sha256, SHA256));
            }
            target.uri = target.uri.replace(VERSION, &version);
        }
        manifest.spec.version = manifest.spec.version.replace(VERSION, &version);
        Ok(manifest)
    }

    /// The platforms we release for.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.spec.platforms.iter()
    }

    pub(super) fn target(&self, platform: Platform) -> Result<&Target, ManifestError> {
        self.targets()
            .find(|target| target.platform() == platform)
            .ok_or_else(|| ManifestError::NotListed {
                platform,
                listed: self
                    .targets()
                    .map(|target| target.platform().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// The name of the file that krew's index keeps the manifest in.
    pub(super) fn file_name(&self) -> String {
        format!("{}.yaml", self.metadata.name)
    }

    /// The manifest for the existing archives, by their checksums. Platforms without one are left out.
    pub(super) fn render(
        &self,
        checksums: &BTreeMap<Platform, String>,
    ) -> Result<String, ManifestError> {
        let mut manifest = self.clone();
        manifest.spec.platforms = self
            .targets()
            .filter_map(|target| {
                let sha256 = checksums.get(&target.platform())?.clone();
                Some(Target {
                    sha256,
                    ..target.clone()
                })
            })
            .collect();
        // Keeps addresses on one line.
        let options = serde_saphyr::ser_options! { folded_wrap_chars: 200 };
        serde_saphyr::to_string_with_options(&manifest, options)
            .map_err(|error| ManifestError::Render(Box::new(error)))
    }
}

impl Target {
    pub(super) fn platform(&self) -> Platform {
        self.selector.match_labels
    }

    /// Name of the binary within the archive.
    pub(super) fn bin(&self) -> &str {
        &self.bin
    }

    /// Name of the archive: the last part of its address.
    pub(super) fn archive(&self) -> &str {
        self.uri.rsplit('/').next().unwrap_or(&self.uri)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::platform::{Arch, Os};
    use super::*;

    const TEMPLATE: &str = include_str!("../../../krew-manifest.yaml");
    const LINUX: Platform = Platform {
        os: Os::Linux,
        arch: Arch::Amd64,
    };
    const WINDOWS: Platform = Platform {
        os: Os::Windows,
        arch: Arch::Amd64,
    };

    fn manifest() -> Manifest {
        Manifest::from_template(TEMPLATE, "1.2.3").unwrap()
    }

    fn rendered(checksums: &[(Platform, &str)]) -> Value {
        let checksums = checksums
            .iter()
            .map(|(platform, sum)| (*platform, (*sum).to_owned()))
            .collect();
        serde_saphyr::from_str(&manifest().render(&checksums).unwrap()).unwrap()
    }

    #[test]
    fn it_lists_the_platforms_that_have_an_archive_with_their_checksums() {
        let manifest = rendered(&[(LINUX, "ab12"), (WINDOWS, "cd34")]);
        assert_eq!(manifest["spec"]["version"], "v1.2.3");
        let base = "https://github.com/kubectl-failover/kubectl-failover/releases/download/v1.2.3";
        assert_eq!(
            manifest["spec"]["platforms"],
            json!([
                {
                    "selector": { "matchLabels": { "os": "linux", "arch": "amd64" } },
                    "uri": format!("{base}/kubectl-failover-v1.2.3-linux-amd64.tar.gz"),
                    "sha256": "ab12",
                    "bin": "kubectl-failover",
                },
                {
                    "selector": { "matchLabels": { "os": "windows", "arch": "amd64" } },
                    "uri": format!("{base}/kubectl-failover-v1.2.3-windows-amd64.tar.gz"),
                    "sha256": "cd34",
                    "bin": "kubectl-failover.exe",
                },
            ])
        );
    }

    #[test]
    fn no_placeholder_is_left_and_the_text_is_as_in_the_template() {
        let all: BTreeMap<_, _> = manifest()
            .targets()
            .map(|target| (target.platform(), "00".repeat(32)))
            .collect();
        let text = manifest().render(&all).unwrap();
        assert!(!text.contains('$'), "{text}");
        let (mut before, mut after): (Value, Value) = (
            serde_saphyr::from_str(TEMPLATE).unwrap(),
            serde_saphyr::from_str(&text).unwrap(),
        );
        for manifest in [&mut before, &mut after] {
            for platform in manifest["spec"]["platforms"].as_array_mut().unwrap() {
                platform["sha256"].take();
                platform["uri"].take();
            }
            manifest["spec"]["version"].take();
        }
        assert_eq!(before, after);
    }

    #[test]
    fn the_template_keeps_the_rules_of_krew() {
        let manifest = manifest();
        assert_eq!(
            manifest.api_version,
            "krew.googlecontainertools.github.com/v1alpha2"
        );
        assert_eq!(manifest.kind, "Plugin");
        assert_eq!(manifest.file_name(), "failover.yaml");
        let summary = &manifest.spec.short_description;
        assert!(
            (1..=50).contains(&summary.chars().count()) && !summary.contains('\n'),
            "{summary}"
        );
        let platforms: Vec<_> = manifest
            .targets()
            .map(|target| target.platform().to_string())
            .collect();
        assert_eq!(
            platforms,
            [
                "linux/amd64",
                "linux/arm64",
                "darwin/amd64",
                "darwin/arm64",
                "windows/amd64"
            ]
        );
        for target in manifest.targets() {
            let suffix = if target.platform().os == Os::Windows {
                ".exe"
            } else {
                ""
            };
            assert_eq!(target.bin(), format!("kubectl-failover{suffix}"));
            assert_eq!(
                target.archive(),
                format!(
                    "kubectl-failover-v1.2.3-{}.tar.gz",
                    target.platform().to_string().replace('/', "-")
                )
            );
        }
    }

    #[rstest]
    #[case::a_real_checksum(
        "sha256: $SHA256",
        "sha256: abc",
        "sha256 of linux/amd64 is \"abc\", without $SHA256"
    )]
    #[case::a_fixed_address(
        "$VERSION/kubectl-failover-$VERSION-linux-amd64",
        "latest/linux-amd64",
        "uri of linux/amd64 is"
    )]
    #[case::a_platform_twice("arch: arm64", "arch: amd64", "linux/amd64 is listed twice")]
    #[case::an_unknown_platform("os: darwin", "os: macos", "is not the manifest it should be")]
    #[case::an_unknown_field("homepage:", "homePage:", "is not the manifest it should be")]
    fn a_template_that_would_mislead_is_refused(
        #[case] from: &str,
        #[case] to: &str,
        #[case] message: &str,
    ) {
        // Skips the comment at the top, which mentions the placeholders too.
        let (comment, yaml) = TEMPLATE.split_at(TEMPLATE.find("apiVersion:").unwrap());
        let template = format!("{comment}{}", yaml.replacen(from, to, 1));
        let error = Manifest::from_template(&template, "1.2.3")
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn an_unlisted_platform_is_named_with_the_listed_ones() {
        let other = Platform {
            os: Os::Windows,
            arch: Arch::Arm64,
        };
        assert_eq!(
            manifest().target(other).unwrap_err().to_string(),
            "krew-manifest.yaml lists no platform windows/arm64, only linux/amd64, linux/arm64, darwin/amd64, \
             darwin/arm64, windows/amd64"
        );
    }
}
