//! Which module may use which: the vocabulary lies below the verbs, and no file imports one that imports it.
// The sources are read, and wasm sees no files.
#![cfg(not(target_family = "wasm"))]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// From below. A module uses modules of lower floors alone.
const FLOORS: [&[&str]; 8] = [
    &["error", "scalar"],
    &["axes", "simd", "tasks"],
    &["bits", "numbers"],
    &["elements"],
    &["segment"],
    &["keys"],
    &["apply", "inspect", "mask", "nm", "normalize", "random", "save", "score", "select", "yardstick"],
    &["remove", "repair", "survey"],
];

fn floor_of(module: &str) -> usize {
    FLOORS.iter().position(|floor| floor.contains(&module)).unwrap_or_else(|| panic!("{module} has no floor"))
}

/// The words that follow `prefix` in code, without comments, strings of paths in docs, and tests.
fn words_after<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.match_indices(prefix).map(move |(place, _)| (line, place)))
        .filter(|(line, place)| !line[..*place].ends_with(is_word))
        .map(|(line, place)| &line[place + prefix.len()..])
        .map(|rest| rest.split(|letter| !is_word(letter)).next().unwrap_or_default())
        .collect()
}

/// Each source file but tests, by its path without the ending; a folder's own file has the folder's name.
fn sources() -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    let mut folders = vec![(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                folders.push((entry.path(), format!("{prefix}{name}/")));
                continue;
            }
            let name = match name.strip_suffix(".rs").unwrap() {
                "mod" => prefix.trim_end_matches('/').to_string(),
                "tests" | "lib" => continue,
                name => format!("{prefix}{name}"),
            };
            sources.insert(name, fs::read_to_string(entry.path()).unwrap());
        }
    }
    sources
}

#[test]
fn modules_use_modules_of_lower_floors_alone() {
    let sources = sources();
    assert!(sources.len() > 30, "{:?}", sources.keys());
    for (file, code) in &sources {
        let own = file.split('/').next().unwrap();
        for used in words_after(code, "crate::") {
            assert!(used == own || floor_of(used) < floor_of(own), "{file} uses {used}, which is not below it");
        }
    }
    let modules: BTreeSet<&str> = sources.keys().map(|file| file.split('/').next().unwrap()).collect();
    let on_floors: BTreeSet<&str> = FLOORS.iter().flat_map(|floor| floor.iter().copied()).collect();
    assert_eq!(modules, on_floors);
}

#[test]
fn files_of_a_folder_use_each_other_in_one_direction_alone() {
    let sources = sources();
    let uses = |file: &str| -> Vec<String> {
        let code = &sources[file];
        match file.split_once('/') {
            // What a file takes from the folder's own file would lead back to itself.
            Some((folder, _)) => words_after(code, "super::").iter().map(|name| format!("{folder}/{name}")).collect(),
            None => {
                let inner = |name: &&str| sources.contains_key(&format!("{file}/{name}"));
                words_after(code, "mod ").into_iter().filter(inner).map(|name| format!("{file}/{name}")).collect()
            }
        }
    };
    let mut done = BTreeSet::new();
    while done.len() < sources.len() {
        let ready =
            sources.keys().find(|file| !done.contains(*file) && uses(file).iter().all(|used| done.contains(used)));
        let waiting: Vec<&String> = sources.keys().filter(|file| !done.contains(*file)).collect();
        done.insert(ready.unwrap_or_else(|| panic!("these use each other in a circle: {waiting:?}")).clone());
    }
}

#[test]
fn no_file_has_more_than_400_lines() {
    for (folder, name) in [("../kernels/src", "kernels"), ("../wasm/src", "wasm")] {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                assert!(lines <= 400, "{name}: {} has {lines} lines", path.display());
            }
        }
    }
}
