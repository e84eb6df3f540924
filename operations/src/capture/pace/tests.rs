use etcdr_schemas::units::{Size, Span};

use super::*;

fn config(rate: Option<u64>, max_hold: u64) -> CaptureConfig {
    CaptureConfig {
        rate_limit: rate.map(Size),
        max_hold: Span(Duration::from_millis(max_hold)),
        ..CaptureConfig::default()
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_are_held_back_and_time_is_counted() {
    let pace = Pace::new(&config(Some(1000), 60_000), None);
    pace.opening();
    pace.opened(5000);
    let work = async {
        for _ in 0..50 {
            pace.taken(100).await;
        }
        Ok(())
    };
    pace.bound(work).await.unwrap();
    let held = pace.held();
    assert!(held >= Duration::from_millis(4700) && held < Duration::from_millis(5100), "{held:?}");
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(pace.held(), held, "the stream is over");
    assert_eq!(pace.paused(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_open_too_long_is_given_up_and_a_slow_end_is_not() {
    let pace = Pace::new(&config(None, 2000), None);
    pace.opening();
    pace.opened(100);
    let stuck = async {
        pace.taken(99).await;
        std::future::pending::<Result<(), Error>>().await
    };
    let error = pace.bound(stuck).await.unwrap_err();
    assert!(matches!(error, Error::HeldTooLong { taken: 99, total: 100, .. }), "{error}");

    let pace = Pace::new(&config(None, 2000), None);
    pace.opening();
    pace.opened(100);
    let slow_store = async {
        pace.taken(100).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(())
    };
    pace.bound(slow_store).await.unwrap();
    assert!(pace.held() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_the_stream_and_can_end_early() {
    let pace = Pace::new(&config(None, 60_000), None);
    pace.opening();
    pace.opened(u64::MAX);
    assert!(pace.lock().brake.observe(true, Duration::ZERO));
    let before = Instant::now();
    let stream = pace.taken(1);
    let watch = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        pace.lock().brake.observe(false, pace.began.elapsed());
    };
    tokio::join!(stream, watch);
    let waited = before.elapsed();
    assert!(waited >= Duration::from_secs(2) && waited < Duration::from_millis(2200), "{waited:?}");
    assert_eq!(pace.paused().as_secs(), 2);
}
