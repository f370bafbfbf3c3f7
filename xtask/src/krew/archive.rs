//! The release archive: a tar.gz of the binary and the licence, the same bytes for the same input.
//!
//! Krew unpacks regular files only, stops at a symbolic link, and wants a file named exactly `LICENSE`. It takes tar.gz on
//! every platform, Windows included.

use std::fmt::Write as _;
use std::io;

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Modification time of every entry, in seconds since 1970: 2000-01-01T00:00:00Z. Any fixed time would do except the
/// epoch, which tar warns about when it unpacks.
pub(super) const MARK: u64 = 946_684_800;

const EXECUTABLE: u32 = 0o755;
const READABLE: u32 = 0o644;

/// Packs a binary under the name `bin`, with the licence beside it.
pub(super) fn build(bin: &str, binary: &[u8], licence: &[u8]) -> io::Result<Vec<u8>> {
    // Neither file name, time nor operating system of the packing machine goes into the gzip header.
    const UNKNOWN_OS: u8 = 255;
    let gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(UNKNOWN_OS)
        .write(Vec::new(), Compression::best());
    let mut tar = Builder::new(gzip);
    append(&mut tar, bin, EXECUTABLE, binary)?;
    append(&mut tar, "LICENSE", READABLE, licence)?;
    tar.into_inner()?.finish()
}

/// Lower-case hexadecimal, as krew compares it.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a String does not fail");
            hex
        })
}

fn append(
    tar: &mut Builder<impl io::Write>,
    name: &str,
    mode: u32,
    content: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MARK);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use tar::Archive;

    use super::*;

    #[test]
    fn it_contains_only_the_binary_and_the_licence_as_regular_files() {
        let bytes = build("kubectl-failover", b"\x7fELF...", b"Apache").unwrap();
        let mut archive = Archive::new(GzDecoder::new(bytes.as_slice()));
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                let header = entry.header();
                assert_eq!(header.entry_type(), EntryType::Regular);
                assert_eq!(
                    (
                        header.uid().unwrap(),
                        header.gid().unwrap(),
                        header.mtime().unwrap()
                    ),
                    (0, 0, MARK)
                );
                (
                    entry.path().unwrap().display().to_string(),
                    header.mode().unwrap(),
                    content,
                )
            })
            .collect();
        assert_eq!(
            entries,
            [
                ("kubectl-failover".to_owned(), 0o755, b"\x7fELF...".to_vec()),
                ("LICENSE".to_owned(), 0o644, b"Apache".to_vec()),
            ]
        );
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let pack = |binary: &[u8]| build("kubectl-failover", binary, b"Apache").unwrap();
        let large: Vec<u8> = (0_u32..200_000)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        assert_eq!(pack(&large), pack(&large));
        assert_ne!(pack(&large), pack(&large[1..]));
    }

    #[test]
    fn the_gzip_header_names_neither_time_nor_machine() {
        let bytes = build("kubectl-failover", b"binary", b"Apache").unwrap();
        let decoder = GzDecoder::new(bytes.as_slice());
        let header = decoder.header().unwrap();
        assert_eq!(
            (header.mtime(), header.operating_system(), header.filename()),
            (0, 255, None)
        );
    }

    #[test]
    fn the_checksum_is_lower_case_hexadecimal() {
        // FIPS 180-4, the one-block example.
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
