use super::*;
use command::tasks::Tasks;

/// The space of each folder's volume is shown, also of a folder that does not exist yet; a volume that only an earlier
/// configuration had is shown no more.
#[tokio::test]
async fn volumes_are_shown() {
    let (meter, folder) = (Meter::new(), tempfile::tempdir().unwrap());
    meter.gauge(&names::VOLUME_FREE_BYTES, &[("volume", "vault/old")]).set(1.0);
    meter.gauge(&names::VOLUME_SIZE_BYTES, &[("volume", "vault/old")]).set(2.0);
    let folders = vec![("spool".to_owned(), folder.path().to_owned()), ("vault".to_owned(), folder.path().join("a/b"))];
    let watch = watch_volumes(folders, Tasks::new(&meter), meter.clone());
    let shown = || {
        let sizes = meter.series(&names::VOLUME_SIZE_BYTES);
        sizes.iter().map(|series| series.label("volume").to_owned()).collect::<Vec<_>>()
    };
    let seen = async {
        while shown() != ["spool", "vault"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = watch => {}
        () = seen => {}
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("{:?}", shown()),
    }
    let (free, size) = (meter.values(&names::VOLUME_FREE_BYTES), meter.values(&names::VOLUME_SIZE_BYTES));
    assert!(free.len() == 2 && size.len() == 2, "{free:?} {size:?}");
    assert!(free.iter().zip(&size).all(|(free, size)| 0.0 < *free && free <= size), "{free:?} {size:?}");
}
