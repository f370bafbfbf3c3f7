//! Parses what `/metrics` answers strictly by OpenMetrics 1.0, and checks it against Prometheus' naming conventions.
//!
//! It is hand-written, since existing parsers bring a second date type or a licence that is not allowed here.

use std::collections::{BTreeMap, BTreeSet};

/// All samples under one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    pub name: String,
    pub kind: String,
    pub help: String,
    pub unit: String,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// The suffixes that samples of each type may have after the name of their family.
const SUFFIXES: [(&str, &[&str]); 4] = [
    ("gauge", &[""]),
    ("counter", &["_total"]),
    ("histogram", &["_bucket", "_count", "_sum"]),
    ("info", &["_info"]),
];

/// The families of an exposition.
pub fn parse(text: &str) -> Result<Vec<Family>, String> {
    let body = text
        .strip_suffix("# EOF\n")
        .ok_or("it does not end with # EOF")?;
    let mut families: Vec<Family> = Vec::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (key, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let text = words.next().unwrap_or("").to_owned();
            if families.last().is_none_or(|family| family.name != name) {
                families.push(Family {
                    name: name.to_owned(),
                    ..Family::default()
                });
            }
            let family = families.last_mut().ok_or("no family")?;
            if !family.samples.is_empty() {
                return Err(format!("{line:?} comes after samples"));
            }
            let place = match key {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                "UNIT" => &mut family.unit,
                _ => return Err(format!("{line:?} is neither HELP, TYPE nor UNIT")),
            };
            if !place.is_empty() {
                return Err(format!("{line:?} is said twice"));
            }
            *place = text;
        } else {
            let sample = sample(line).ok_or_else(|| format!("{line:?} is not a sample"))?;
            let family = families
                .last_mut()
                .ok_or_else(|| format!("{line:?} belongs to nothing"))?;
            if !is_of(&sample, family) {
                return Err(format!("{line:?} does not belong to {}", family.name));
            }
            family.samples.push(sample);
        }
    }
    for family in &families {
        is_consistent(family)?;
    }
    let names: BTreeSet<_> = families.iter().map(|family| &family.name).collect();
    if names.len() < families.len() {
        return Err("a family comes in two parts".to_owned());
    }
    Ok(families)
}

fn is_of(sample: &Sample, family: &Family) -> bool {
    let suffixes = SUFFIXES.iter().find(|(kind, _)| *kind == family.kind);
    let suffix = sample.name.strip_prefix(&family.name);
    suffixes.is_some_and(|(_, known)| suffix.is_some_and(|suffix| known.contains(&suffix)))
}

/// `name{label="value",...} number`
fn sample(line: &str) -> Option<Sample> {
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ')?;
    Some(Sample {
        name: is_name(name).then(|| name.to_owned())?,
        labels,
        value: value.parse().ok()?,
    })
}

/// Up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((i, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[i + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}

/// Checks that no sample is a duplicate, no counter is negative, and buckets are cumulative up to `+Inf`, which equals the
/// count.
fn is_consistent(family: &Family) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for sample in &family.samples {
        if !seen.insert((&sample.name, &sample.labels)) {
            return Err(format!("{sample:?} is there twice"));
        }
        if family.kind == "counter" && sample.value < 0.0 {
            return Err(format!("{sample:?} is negative"));
        }
    }
    let of = |suffix: &str| {
        let name = format!("{}{suffix}", family.name);
        family.samples.iter().filter(move |s| s.name == name)
    };
    for count in of("_count") {
        let mut last = (f64::NEG_INFINITY, 0.0);
        for bucket in of("_bucket") {
            let mut labels = bucket.labels.clone();
            let bound = labels.remove("le").unwrap_or_default();
            if labels != count.labels {
                continue;
            }
            let bound: f64 = bound.parse().map_err(|_| format!("{bucket:?}"))?;
            if bound <= last.0 || bucket.value < last.1 {
                return Err(format!("{bucket:?} is less than the one before"));
            }
            last = (bound, bucket.value);
        }
        let all = last.0.is_infinite() && last.1.to_bits() == count.value.to_bits();
        if family.kind == "histogram" && !all {
            return Err(format!("the last bucket of {count:?} does not hold all"));
        }
    }
    Ok(())
}

/// The violations of the conventions of `promtool check metrics` and prometheus.io/docs/practices/naming.
pub fn complaints(family: &Family, prefix: &str) -> Vec<String> {
    const UNITS: [&str; 4] = ["seconds", "bytes", "ratio", "celsius"];
    const OTHER_UNITS: [&str; 8] = [
        "milliseconds",
        "minutes",
        "hours",
        "days",
        "ms",
        "kilobytes",
        "megabytes",
        "percent",
    ];
    let Family {
        name,
        kind,
        help,
        unit,
        samples,
    } = family;
    let words: Vec<&str> = name.split('_').collect();
    let mut complaints = Vec::new();
    let mut complain = |so: bool, what: &str| {
        if so {
            complaints.push(format!("{name}: {what}"));
        }
    };
    complain(!name.starts_with(prefix), "it lacks the prefix");
    complain(
        name.bytes()
            .any(|b| !(b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')),
        "it is not in snake case",
    );
    complain(help.trim_end_matches('.').is_empty(), "it has no HELP");
    complain(kind.is_empty(), "it has no TYPE");
    complain(
        words.iter().any(|word| {
            [
                "gauge",
                "counter",
                "histogram",
                "total",
                "count",
                "sum",
                "bucket",
            ]
            .contains(word)
        }),
        "it names its type",
    );
    complain(
        words.iter().any(|word| OTHER_UNITS.contains(word)),
        "its unit is not a base unit",
    );
    let found = words.last().filter(|word| UNITS.contains(word));
    complain(
        found.map_or("", |word| word) != unit,
        "its name does not end with its UNIT",
    );
    complain(kind == "histogram" && unit.is_empty(), "it has no unit");
    for label in samples.iter().flat_map(|sample| sample.labels.keys()) {
        complain(
            label != &label.to_lowercase()
                || label.starts_with("__")
                || name.ends_with(label.as_str()) && kind == "counter",
            &format!("label {label}"),
        );
    }
    complaints
}

/// The value of the sample with this name and exactly these labels.
pub fn value(families: &[Family], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: BTreeMap<_, _> = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let mut samples = families.iter().flat_map(|family| &family.samples);
    let found = samples.find(|s| s.name == name && s.labels == labels);
    found.map(|sample| sample.value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SOUND: &str = "\
# HELP shop_wait_seconds How long
# TYPE shop_wait_seconds histogram
# UNIT shop_wait_seconds seconds
shop_wait_seconds_sum{to=\"a \\\"b\\\"\"} 1.5
shop_wait_seconds_count{to=\"a \\\"b\\\"\"} 2
shop_wait_seconds_bucket{le=\"1.0\",to=\"a \\\"b\\\"\"} 1
shop_wait_seconds_bucket{le=\"+Inf\",to=\"a \\\"b\\\"\"} 2
# HELP shop_sales What was sold
# TYPE shop_sales counter
shop_sales_total 3
# EOF
";

    #[test]
    fn a_sound_exposition_is_read_and_gives_no_cause_for_complaint() {
        let families = parse(SOUND).unwrap();
        let count = value(&families, "shop_wait_seconds_count", &[("to", "a \"b\"")]);
        assert_eq!(count, Some(2.0));
        assert_eq!(value(&families, "shop_sales_total", &[]), Some(3.0));
        for family in &families {
            assert!(
                complaints(family, "shop_").is_empty(),
                "{:?}",
                complaints(family, "shop_")
            );
        }
    }

    #[rstest]
    #[case::without_end("# EOF\n", "")]
    #[case::counter_without_suffix("shop_sales_total", "shop_sales")]
    #[case::bucket_that_shrinks(
        "le=\"1.0\",to=\"a \\\"b\\\"\"} 1",
        "le=\"1.0\",to=\"a \\\"b\\\"\"} 3"
    )]
    #[case::last_bucket_does_not_hold_all(
        "le=\"+Inf\",to=\"a \\\"b\\\"\"} 2",
        "le=\"+Inf\",to=\"a \\\"b\\\"\"} 1"
    )]
    #[case::not_a_number("total 3", "total three")]
    #[case::negative("total 3", "total -3")]
    #[case::twice("shop_sales_total 3\n", "shop_sales_total 3\nshop_sales_total 3\n")]
    #[case::unknown_type("sales counter", "sales teller")]
    fn what_is_broken_is_refused(#[case] from: &str, #[case] to: &str) {
        let broken = SOUND.replace(from, to);
        assert_ne!(broken, SOUND);
        parse(&broken).unwrap_err();
    }

    #[rstest]
    #[case::no_help("What was sold", "", "shop_sales: it has no HELP")]
    #[case::no_prefix("shop_sales", "sales", "sales: it lacks the prefix")]
    #[case::other_unit(
        "shop_sales",
        "shop_sale_minutes",
        "shop_sale_minutes: its unit is not a base unit"
    )]
    #[case::unit_not_in_name(
        "# UNIT shop_wait_seconds seconds\n",
        "",
        "shop_wait_seconds: its name does not end with its UNIT"
    )]
    #[case::type_in_name("shop_sales", "shop_counter", "shop_counter: it names its type")]
    fn violations_of_the_conventions_are_reported(
        #[case] from: &str,
        #[case] to: &str,
        #[case] complaint: &str,
    ) {
        let families = parse(&SOUND.replace(from, to)).unwrap();
        let found: Vec<_> = families
            .iter()
            .flat_map(|f| complaints(f, "shop_"))
            .collect();
        assert!(found.iter().any(|found| found == complaint), "{found:?}");
    }
}
