//! The image that `make image` packs, with a small static program in the agent's place: a release build takes minutes, and
//! what is packed makes no difference to the packing.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::Scratch;
use serde_json::Value;

const PROGRAM: &str = "#include <stdio.h>\nint main(void) { puts(\"it runs alone\"); return 0; }\n";

fn done(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn static_program(scratch: &Scratch) -> PathBuf {
    let (source, program) = (scratch.0.join("program.c"), scratch.0.join("program"));
    std::fs::write(&source, PROGRAM).expect("written");
    done(Command::new("cc").arg("-static").arg("-o").arg(&program).arg(&source));
    program
}

fn pack(binary: &Path, output: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/image.py");
    let mut command = Command::new(script);
    command.arg(binary).arg("--output").arg(output).args(["--name", "example.org/mainstay:1"]);
    command.output().expect("python3 is there")
}

fn packed(scratch: &Scratch, name: &str) -> PathBuf {
    let (program, archive) = (static_program(scratch), scratch.0.join(name));
    let output = pack(&program, &archive);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    archive
}

fn unpack(archive: &Path, name: &str) -> PathBuf {
    let directory = archive.with_file_name(name);
    std::fs::create_dir_all(&directory).expect("made");
    // The image's capabilities and owners, too.
    let keep = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p"];
    done(Command::new("tar").args(keep).arg("-xf").arg(archive).arg("-C").arg(&directory));
    directory
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("it is there")).expect("JSON")
}

/// The file that `descriptor` names: it is there, as long as it says, and has the digest that it says.
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest =
        descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("one");
    let path = layout.join("blobs/sha256").join(digest);
    let size = std::fs::metadata(&path).expect("it is there").len();
    assert_eq!(descriptor["size"], size);
    let sum = done(Command::new("sha256sum").arg(&path)).stdout;
    assert!(String::from_utf8_lossy(&sum).starts_with(digest), "{digest}");
    path
}

#[test]
fn every_blob_is_what_its_digest_says_and_old_engines_find_the_same_ones() {
    let scratch = Scratch::new("image-layout");
    let layout = unpack(&packed(&scratch, "image.tar"), "layout");
    assert_eq!(json(&layout.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = json(&layout.join("index.json"));
    let descriptor = &index["manifests"][0];
    assert_eq!(descriptor["annotations"]["io.containerd.image.name"], "example.org/mainstay:1");
    let manifest = json(&blob(&layout, descriptor));
    let config = blob(&layout, &manifest["config"]);
    let layer = blob(&layout, &manifest["layers"][0]);
    assert_eq!(json(&config)["config"]["Entrypoint"], serde_json::json!(["/mainstay"]));
    let unzipped =
        done(Command::new("sh").arg("-c").arg(format!("gzip -dc {} | sha256sum", layer.display())));
    let unzipped =
        format!("sha256:{}", String::from_utf8_lossy(&unzipped.stdout).trim_end_matches([' ', '-', '\n']));
    assert_eq!(json(&config)["rootfs"]["diff_ids"], serde_json::json!([unzipped]));
    let old = &json(&layout.join("manifest.json"))[0];
    let places = [&old["Config"], &old["Layers"][0]].map(|path| layout.join(path.as_str().expect("a path")));
    assert_eq!(places, [config, layer]);
}

#[test]
fn the_binary_runs_with_nothing_beside_it_and_has_its_capabilities() {
    let scratch = Scratch::new("image-root");
    let layout = unpack(&packed(&scratch, "image.tar"), "layout");
    let manifest = json(&blob(&layout, &json(&layout.join("index.json"))["manifests"][0]));
    let root = unpack(&blob(&layout, &manifest["layers"][0]), "root");
    let ran = Command::new("chroot").arg(&root).arg("/mainstay").output().expect("chroot is there");
    // chroot itself could not: 126 and 127 would say that the binary cannot run, or is not there.
    if ran.status.code() == Some(125) {
        return eprintln!("skipped: {}", String::from_utf8_lossy(&ran.stderr));
    }
    assert!(ran.status.success(), "{}: {}", ran.status, String::from_utf8_lossy(&ran.stderr));
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "it runs alone\n");
    let capabilities = done(Command::new("getcap").arg(root.join("mainstay"))).stdout;
    let capabilities = String::from_utf8_lossy(&capabilities);
    assert!(
        capabilities.trim_end().ends_with("cap_net_admin,cap_net_raw,cap_ipc_lock,cap_sys_nice=p"),
        "{capabilities}"
    );
}

#[test]
fn the_same_binary_makes_the_same_image() {
    let scratch = Scratch::new("image-again");
    let images =
        ["one.tar", "two.tar"].map(|name| std::fs::read(packed(&scratch, name)).expect("an archive"));
    assert!(images[0] == images[1]);
}

#[test]
fn a_binary_that_would_not_run_is_refused() {
    let scratch = Scratch::new("image-refused");
    let refused = pack(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0.join("image.tar"));
    assert_eq!(refused.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("needs shared libraries") && errors.contains("make image"), "{errors}");
}
