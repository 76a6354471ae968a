//! Every configuration on the operators' pages is valid.

use std::path::Path;

use crate::parse;

/// The blocks of a page in this language, with their lines.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<(usize, String)> {
    let fence = format!("```{language}");
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((start, line)) = lines.next() {
        if line.trim_end() == fence {
            let block: Vec<&'a str> = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| *line != "```")
                .collect();
            found.push((start + 1, block.join("\n")));
        }
    }
    found
}

/// A page may omit the version in a block that shows root keys.
fn configuration(block: &str) -> Option<String> {
    let root_keys = block.lines().any(|line| line.starts_with("root_keys:"));
    let version = if block.contains("apiVersion: ") {
        ""
    } else {
        "apiVersion: dekhand/v1\n"
    };
    root_keys.then(|| format!("{version}{block}"))
}

#[test]
fn every_configuration_on_a_page_is_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("config/README.md")];
    for entry in std::fs::read_dir(root.join("deploy")).unwrap() {
        pages.push(entry.unwrap().path());
    }
    let mut good = 0;
    for page in pages
        .iter()
        .filter(|page| page.extension().is_some_and(|extension| extension == "md"))
    {
        for (line, block) in blocks(&std::fs::read_to_string(page).unwrap(), "yaml") {
            let Some(text) = configuration(&block) else {
                assert!(
                    !page.ends_with("tokens.md"),
                    "{}:{line} shows no root key",
                    page.display()
                );
                continue;
            };
            if let Err(error) = parse(&text) {
                panic!("{}:{line}: {error}; {:?}\n{text}", page.display(), error.hint);
            }
            good += 1;
        }
    }
    assert!(good > 10, "only {good} configurations");
}
