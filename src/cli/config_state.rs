//! [`ConfigState`]: shows as metrics which configuration runs, which one the file holds, and whether the last change or
//! reload was taken. `telemetry::notices` makes the sentence on the page from them; `reload` sets them.

use parking_lot::Mutex;

use telemetry::{Gauge, Meter, names};

/// The label of a file that can't be read.
const UNREADABLE: &str = "unreadable";

/// See the module.
pub(super) struct ConfigState {
    meter: Meter,
    /// The role that runs, and the hashes of the configuration that runs and of the one in the file.
    shown: Mutex<[String; 3]>,
    success: Gauge,
}

impl ConfigState {
    /// The state of a gateway that starts with a usable configuration.
    pub(super) fn new(meter: &Meter) -> Self {
        let success = meter.gauge(&names::CONFIG_LAST_RELOAD_SUCCESS, &[]);
        success.set(1.0);
        Self { meter: meter.clone(), shown: Mutex::default(), success }
    }

    /// Notes the role that runs, and the configurations that run and that the file holds, by the hashes of their text.
    pub(super) fn set_running(&self, role: &str, running: &str, file: &str) {
        self.change(|shown| *shown = [role, running, file].map(str::to_owned));
    }

    /// Notes the hash of the file's text; `None`: the file can't be read.
    pub(super) fn set_file(&self, hash: Option<&str>) {
        self.change(|[_, _, file]| hash.unwrap_or(UNREADABLE).clone_into(file));
    }

    /// Notes whether the last change or reload was taken.
    pub(super) fn set_success(&self, is_success: bool) {
        self.success.set(f64::from(u8::from(is_success)));
    }

    /// Under one lock: a check of an earlier round may still be reading the file.
    fn change(&self, change: impl FnOnce(&mut [String; 3])) {
        let mut shown = self.shown.lock();
        let before = shown.clone();
        change(&mut shown);
        if *shown == before {
            return;
        }
        self.meter.gauge(&names::CONFIG_HASH_INFO, &labels(&shown)).set(1.0);
        self.meter.remove(&names::CONFIG_HASH_INFO, &labels(&before));
    }
}

fn labels([role, loaded, file]: &[String; 3]) -> [(&'static str, &str); 3] {
    [("role", role), ("loaded", loaded), ("file", file)]
}
