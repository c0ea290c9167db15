//! `nlbus-log`: whatever its name leads to, and whoever else is at work there, no file is lost or taken.

use crate::host::{Running, on_a_host};
use crate::log::{LOG, files, lines, publish, start, wait_for};
use nix::sys::stat::Mode;
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};

#[test]
fn a_links_target_is_rotated_in_its_own_folder() {
    on_a_host(|host| {
        let _broker = host.broker();
        let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(target.path().join("log"), folder.path().join("log")).unwrap();
        let log = start(host, folder.path(), &["--max-size", "2k"]);
        publish(&host.connect(), "x", 30);
        log.signal("TERM");
        log.succeeds();
        assert_eq!(files(folder.path()), [folder.path().join("log")]);
        assert!(folder.path().join("log").is_symlink());
        assert!(files(target.path()).len() > 2, "{:?}", files(target.path()));
        assert_eq!(lines(target.path()).len(), 30);
    });
}

#[test]
fn a_pipe_is_written_to_and_never_renamed() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("log");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let log = start(host, folder.path(), &["--max-size", "1", "--max-age", "1ms"]);
        publish(&host.connect(), "x", 10);
        log.signal("TERM");
        log.succeeds();
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        assert_eq!(files(folder.path()), [pipe]);
    });
}

#[test]
fn a_file_has_one_writer() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let log = start(host, folder.path(), &[]);
        let name = folder.path().join("log").display().to_string();
        let args = ["--file", &name];
        let error = Running::start(host.command(LOG).args(args), &args).fails(1);
        assert!(error.contains("another program has it locked; end that one"), "{error}");
        // It is no other program to itself.
        log.signal("HUP");
        host.nlbus(&["pub", "x", "one"]).succeeds();
        log.signal("TERM");
        log.succeeds();
        assert_eq!(lines(folder.path()).len(), 1);
    });
}

#[test]
fn a_number_that_somebody_took_is_left_to_him() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let log = start(host, folder.path(), &["--max-size", "2k"]);
        let taken = folder.path().join("log.000000001");
        fs::write(&taken, "{\"mine\":true}\n").unwrap();
        publish(&host.connect(), "x", 30);
        log.signal("TERM");
        log.succeeds();
        assert_eq!(fs::read_to_string(&taken).unwrap(), "{\"mine\":true}\n");
        assert_eq!(lines(folder.path()).len(), 31);
    });
}

#[test]
fn a_file_that_was_moved_or_removed_is_begun_anew() {
    on_a_host(|host| {
        let _broker = host.broker();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        // Room for one line, not for two.
        let mut log = start(host, folder.path(), &["--max-size", "400"]);
        let publish = |seq: u64| {
            host.nlbus(&["pub", "x", &"x".repeat(100)]).succeeds();
            wait_for(|| fs::read_to_string(&path).is_ok_and(|text| text.contains(&format!("\"seq\":{seq},"))));
        };
        publish(1);
        fs::remove_file(&path).unwrap();
        publish(2);
        // Another one in its place that is full, too.
        fs::rename(&path, folder.path().join("moved")).unwrap();
        fs::write(&path, format!("{{\"mine\":\"{}\"}}\n", "x".repeat(300))).unwrap();
        publish(3);
        for _ in 0..2 {
            while !log.next_note().contains("somebody has moved or removed it") {}
        }
        log.signal("TERM");
        log.succeeds();
        // The first went with its file, and the second was moved.
        let seen: Vec<_> = lines(folder.path()).iter().map(|line| line["seq"].as_u64()).collect();
        assert_eq!(seen, [None, Some(3)]);
        assert!(fs::read_to_string(folder.path().join("moved")).unwrap().contains("\"seq\":2,"));
    });
}

#[test]
fn what_is_no_place_for_a_log_is_an_error_with_a_remedy() {
    on_a_host(|host| {
        let folder = tempfile::tempdir().unwrap();
        let args = ["--file", "/"];
        let error = Running::start(host.command(LOG).args(args), &args).fails(1);
        assert!(error.ends_with("give the path of a file"), "{error}");
        let link = folder.path().join("link");
        symlink(folder.path(), &link).unwrap();
        let [one, same] = [folder.path(), &link].map(|folder| folder.join("log").display().to_string());
        let args = ["--file", &one, "--state", &same];
        for is_there in [false, true] {
            if is_there {
                fs::write(&one, "{}\n").unwrap();
            }
            let error = Running::start(host.command(LOG).args(args), &args).fails(2);
            assert!(error.ends_with("choose another --state"), "{error}");
        }
    });
}
