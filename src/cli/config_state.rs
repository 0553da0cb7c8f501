//! [`ConfigState`]: shows as metrics which configuration runs, which one the file holds, and whether the last change or
//! reload was taken. `telemetry::notices` makes the sentence on the page from them; `reload` sets them.

use parking_lot::Mutex;

use telemetry::{Gauge, Meter, names};

/// The label of a file that can't be read.
const UNREADABLE: &str = "unreadable";

/// See the module.
pub(super) struct ConfigState {
    meter: Meter,
    /// Hashes of the configuration that runs and of the one in the file.
    hashes: Mutex<[String; 2]>,
    success: Gauge,
}

impl ConfigState {
    /// The state of a gateway that starts with a usable configuration.
    pub(super) fn new(meter: &Meter) -> Self {
        let success = meter.gauge(&names::CONFIG_LAST_RELOAD_SUCCESS, &[]);
        success.set(1.0);
        Self { meter: meter.clone(), hashes: Mutex::default(), success }
    }

    /// Notes the configurations that run and that the file holds, by the hashes of their text.
    pub(super) fn set_running(&self, running: &str, file: &str) {
        self.change(|hashes| *hashes = [running.to_owned(), file.to_owned()]);
    }

    /// Notes the hash of the file's text; `None`: the file can't be read.
    pub(super) fn set_file(&self, hash: Option<&str>) {
        self.change(|[_, file]| hash.unwrap_or(UNREADABLE).clone_into(file));
    }

    /// Notes whether the last change or reload was taken.
    pub(super) fn set_success(&self, is_success: bool) {
        self.success.set(f64::from(u8::from(is_success)));
    }

    /// Under one lock: a check of an earlier round may still be reading the file.
    fn change(&self, change: impl FnOnce(&mut [String; 2])) {
        let mut hashes = self.hashes.lock();
        let before = hashes.clone();
        change(&mut hashes);
        if *hashes == before {
            return;
        }
        let [loaded, file] = &*hashes;
        self.meter.gauge(&names::CONFIG_HASH_INFO, &[("loaded", loaded), ("file", file)]).set(1.0);
        let [loaded, file] = &before;
        self.meter.remove(&names::CONFIG_HASH_INFO, &[("loaded", loaded), ("file", file)]);
    }
}
