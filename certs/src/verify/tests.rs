use rstest::rstest;
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};

use super::*;
use crate::authority::{AUTHORITY_LIFETIME, LEAF_LIFETIME, issue_authority, issue_leaf};
use crate::parsed::CLOCK_SKEW;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn dns(name: &str) -> Name {
    Name::Dns(name.into())
}

fn names() -> BTreeSet<Name> {
    [dns("hook.ours.svc"), Name::Ip("::1".parse().unwrap())].into()
}

/// An authority, its leaf, and all other inputs of a check.
struct Case {
    authority: Pair,
    leaf: Pair,
    trusted: Bundle,
    names: BTreeSet<Name>,
    now: Timestamp,
}

impl Case {
    fn good() -> Self {
        let authority = issue_authority(now()).unwrap();
        Self {
            leaf: issue_leaf(&authority, &names(), now()).unwrap(),
            trusted: Bundle::parse(&authority.certificate),
            authority,
            names: names(),
            now: now(),
        }
    }
}

#[rstest]
#[case::good(|_: &mut Case| {}, Ok(()))]
#[case::good_from_before_it_was_issued(|c: &mut Case| c.now -= CLOCK_SKEW, Ok(()))]
#[case::for_fewer_names(|c: &mut Case| { c.names.pop_first(); }, Ok(()))]
#[case::no_pem(
    |c: &mut Case| c.leaf.certificate = "garbage".into(),
    Err(VerifyError::Certificate(ParseError::NotPem))
)]
#[case::pem_of_no_certificate(
    |c: &mut Case| c.leaf.certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
    Err(VerifyError::Certificate(ParseError::Malformed))
)]
#[case::cut_off(
    |c: &mut Case| c.leaf.certificate.truncate(200),
    Err(VerifyError::Certificate(ParseError::NotPem))
)]
#[case::no_key(|c: &mut Case| c.leaf.key = String::new(), Err(VerifyError::Key))]
#[case::another_key(
    |c: &mut Case| c.leaf.key.clone_from(&c.authority.key),
    Err(VerifyError::KeyMismatch)
)]
#[case::too_early(
    |c: &mut Case| c.now -= CLOCK_SKEW * 2,
    Err(VerifyError::NotYetValid { from: now() - CLOCK_SKEW, now: now() - CLOCK_SKEW * 2 })
)]
#[case::expired(
    |c: &mut Case| c.now += LEAF_LIFETIME,
    Err(VerifyError::Expired { at: now() + LEAF_LIFETIME, now: now() + LEAF_LIFETIME })
)]
#[case::an_authority_is_no_server(
    |c: &mut Case| c.leaf = c.authority.clone(),
    Err(VerifyError::NotForServers)
)]
#[case::for_other_names(
    |c: &mut Case| { c.names.insert(dns("other.ours.svc")); },
    Err(VerifyError::MissingName(dns("other.ours.svc")))
)]
#[case::nothing_trusted(|c: &mut Case| c.trusted = Bundle::default(), Err(VerifyError::Untrusted))]
#[case::another_authority_trusted(
    |c: &mut Case| c.trusted = Bundle::parse(&issue_authority(now()).unwrap().certificate),
    Err(VerifyError::Untrusted)
)]
#[case::a_leaf_is_not_trusted_to_sign(
    |c: &mut Case| c.trusted = Bundle::parse(&c.leaf.certificate),
    Err(VerifyError::Untrusted)
)]
fn each_fault_has_its_own_error(
    #[case] spoil: fn(&mut Case),
    #[case] expected: Result<(), VerifyError>,
) {
    let mut case = Case::good();
    spoil(&mut case);
    let checked = verify(&case.leaf, &case.names, &case.trusted, case.now);
    assert_eq!(checked.map(|_| ()), expected);
}

#[test]
fn a_leaf_of_an_expired_authority_is_refused() {
    let mut case = Case::good();
    case.now += AUTHORITY_LIFETIME;
    // The leaf's own expiry is checked first, and a leaf never outlives its authority, so both expire together.
    case.leaf = issue_leaf(&case.authority, &names(), case.now - CLOCK_SKEW).unwrap();
    let checked = verify(&case.leaf, &case.names, &case.trusted, case.now);
    assert_eq!(
        checked.map(|_| ()),
        Err(VerifyError::Expired {
            at: now() + AUTHORITY_LIFETIME,
            now: case.now
        })
    );
}

#[test]
fn a_leaf_cannot_be_used_as_an_authority() {
    let case = Case::good();
    assert_eq!(
        verify_authority(&case.leaf, case.now).map(|_| ()),
        Err(VerifyError::NotAuthority)
    );
}

#[test]
fn an_invalid_name_is_refused_and_shown() {
    let authority = issue_authority(now()).unwrap();
    let error = issue_leaf(&authority, &[dns("bücher")].into(), now()).unwrap_err();
    assert_eq!(error.to_string(), "\"bücher\" is not a DNS name");
}

#[test]
fn debug_shows_no_key() {
    let case = Case::good();
    let shown = format!("{:?} {:?}", case.authority, case.leaf);
    assert!(!shown.contains("PRIVATE"), "{shown}");
    let secret = case.leaf.key.lines().nth(1).unwrap();
    assert!(!shown.contains(secret), "{shown}");
}

/// The extensions that Go's verifier checks: RFC 5280, 4.2.1.
#[test]
fn certificates_carry_their_usage_and_issuer() {
    let case = Case::good();
    let authority = Parsed::from_pem(&case.authority.certificate).unwrap();
    let leaf = Parsed::from_pem(&case.leaf.certificate).unwrap();
    let (_, authority) = X509Certificate::from_der(&authority.der).unwrap();
    let (_, leaf) = X509Certificate::from_der(&leaf.der).unwrap();

    let constraints = authority.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = authority.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && !usage.digital_signature());

    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && !extended.client_auth && !extended.any);

    let subject_key = authority
        .extensions()
        .iter()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
    let signed_with = leaf
        .extensions()
        .iter()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                Some(id.key_identifier.as_ref()?.0.to_vec())
            }
            _ => None,
        });
    assert!(subject_key.is_some());
    assert_eq!(subject_key, signed_with);
    assert_eq!(leaf.issuer(), authority.subject());
}

#[test]
fn no_two_certificates_share_a_serial_number_and_no_two_authorities_a_name() {
    let authorities: Vec<Pair> = (0..8).map(|_| issue_authority(now()).unwrap()).collect();
    let leaves = (0..8).map(|_| issue_leaf(&authorities[0], &names(), now()).unwrap());
    let pairs: Vec<Pair> = authorities.iter().cloned().chain(leaves).collect();
    let parsed: Vec<Parsed> = pairs
        .iter()
        .map(|pair| Parsed::from_pem(&pair.certificate).unwrap())
        .collect();
    let certificates: Vec<_> = parsed
        .iter()
        .map(|parsed| X509Certificate::from_der(&parsed.der).unwrap().1)
        .collect();
    let serials: BTreeSet<_> = certificates.iter().map(|c| c.raw_serial()).collect();
    assert_eq!(serials.len(), 16);
    let subjects: BTreeSet<_> = certificates[..8]
        .iter()
        .map(|c| c.subject().as_raw())
        .collect();
    assert_eq!(subjects.len(), 8);
}

#[test]
fn a_bundle_has_each_authority_once_and_skips_other_text() {
    let (a, b) = (
        issue_authority(now()).unwrap().certificate,
        issue_authority(now()).unwrap().certificate,
    );
    let leaf = Case::good().leaf.certificate;
    let text = format!("# ours\n{a}\ngarbage\n{b}{a}{leaf}-----BEGIN CERTIFICATE-----\n!\n");
    let bundle = Bundle::parse(&text);
    assert_eq!(bundle.len(), 2);
    assert_eq!(bundle, Bundle::parse(&format!("{b}{a}")));
    assert_eq!(bundle, Bundle::parse(&bundle.to_pem()));
    assert_ne!(bundle, Bundle::parse(&a));
}
