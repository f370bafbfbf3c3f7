//! Which platform a binary is for, read from the binary itself: a name given on the command line can be wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An operating system and an architecture, spelled as Go and krew spell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Platform {
    pub os: Os,
    pub arch: Arch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Os {
    Linux,
    Darwin,
    Windows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Arch {
    Amd64,
    Arm64,
}

/// The file is not an executable of a platform that we release for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a 64-bit x86 or ARM executable for Linux, macOS or Windows")]
pub(super) struct UnknownBinary;

impl Platform {
    /// Reads the platform from the header of an ELF, Mach-O or PE file.
    pub(super) fn of_binary(bytes: &[u8]) -> Result<Self, UnknownBinary> {
        elf(bytes)
            .or_else(|| mach_o(bytes))
            .or_else(|| pe(bytes))
            .ok_or(UnknownBinary)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let os = match self.os {
            Os::Linux => "linux",
            Os::Darwin => "darwin",
            Os::Windows => "windows",
        };
        let arch = match self.arch {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        };
        write!(f, "{os}/{arch}")
    }
}

fn elf(bytes: &[u8]) -> Option<Platform> {
    const ELF64_LITTLE_ENDIAN: &[u8] = &[0x7f, b'E', b'L', b'F', 2, 1];
    /// `EI_OSABI`: System V, which is what Linux toolchains write, and GNU/Linux.
    const LINUX_ABIS: [u8; 2] = [0, 3];
    bytes.strip_prefix(ELF64_LITTLE_ENDIAN)?;
    if !LINUX_ABIS.contains(bytes.get(7)?) {
        return None;
    }
    let arch = match u16_at(bytes, 18)? {
        62 => Arch::Amd64,
        183 => Arch::Arm64,
        _ => return None,
    };
    Some(Platform {
        os: Os::Linux,
        arch,
    })
}

fn mach_o(bytes: &[u8]) -> Option<Platform> {
    const MAGIC_64: u32 = 0xfeed_facf;
    if u32_at(bytes, 0)? != MAGIC_64 {
        return None;
    }
    let arch = match u32_at(bytes, 4)? {
        0x0100_0007 => Arch::Amd64,
        0x0100_000c => Arch::Arm64,
        _ => return None,
    };
    Some(Platform {
        os: Os::Darwin,
        arch,
    })
}

fn pe(bytes: &[u8]) -> Option<Platform> {
    bytes.strip_prefix(b"MZ")?;
    let header = usize::try_from(u32_at(bytes, 0x3c)?).ok()?;
    let header = bytes.get(header..)?;
    header.strip_prefix(b"PE\0\0")?;
    let arch = match u16_at(header, 4)? {
        0x8664 => Arch::Amd64,
        0xaa64 => Arch::Arm64,
        _ => return None,
    };
    Some(Platform {
        os: Os::Windows,
        arch,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn elf_header(abi: u8, machine: u16) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, abi]);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes
    }

    fn mach_o_header(cpu: u32) -> Vec<u8> {
        [0xfeed_facf_u32, cpu]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect()
    }

    fn pe_header(machine: u16) -> Vec<u8> {
        let mut bytes = vec![0; 0x80];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x3c..0x40].copy_from_slice(&0x80_u32.to_le_bytes());
        bytes.extend(b"PE\0\0");
        bytes.extend(machine.to_le_bytes());
        bytes
    }

    #[rstest]
    #[case::linux(elf_header(0, 62), "linux/amd64")]
    #[case::linux_gnu(elf_header(3, 62), "linux/amd64")]
    #[case::linux_arm(elf_header(0, 183), "linux/arm64")]
    #[case::darwin(mach_o_header(0x0100_0007), "darwin/amd64")]
    #[case::darwin_arm(mach_o_header(0x0100_000c), "darwin/arm64")]
    #[case::windows(pe_header(0x8664), "windows/amd64")]
    #[case::windows_arm(pe_header(0xaa64), "windows/arm64")]
    fn the_platform_is_read_from_the_header(#[case] bytes: Vec<u8>, #[case] platform: &str) {
        assert_eq!(
            Platform::of_binary(&bytes)
                .map(|p| p.to_string())
                .as_deref(),
            Ok(platform)
        );
    }

    #[rstest]
    #[case::empty(vec![])]
    #[case::script(b"#!/bin/sh\nexec true\n".to_vec())]
    #[case::cut_short(elf_header(0, 62)[..12].to_vec())]
    #[case::other_machine(elf_header(0, 243))]
    #[case::freebsd(elf_header(9, 62))]
    #[case::pe_offset_past_the_end([b"MZ".as_slice(), &[0xff; 0x3e]].concat())]
    fn anything_else_is_refused(#[case] bytes: Vec<u8>) {
        assert_eq!(Platform::of_binary(&bytes), Err(UnknownBinary));
    }

    #[test]
    fn the_running_test_is_for_the_platform_it_runs_on() {
        let me = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let os = match std::env::consts::OS {
            "macos" => "darwin",
            other => other,
        };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        assert_eq!(
            Platform::of_binary(&me).unwrap().to_string(),
            format!("{os}/{arch}")
        );
    }
}
