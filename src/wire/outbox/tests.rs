//! What happens to each kind of line when a peer reads slowly, or not at all.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::*;

#[tokio::test]
async fn what_was_said_before_a_cut_is_written_alone() {
    let outbox = Outbox::new(1000);
    outbox.line(b"progress");
    outbox.cut();
    outbox.line(b"answer");
    outbox.line(b"more");
    let next = || {
        let mut batch = VecDeque::new();
        outbox.take(&mut batch, &mut false);
        batch.make_contiguous().concat()
    };
    assert_eq!((next(), next()), (b"progress\n".to_vec(), b"answer\nmore\n".to_vec()));
}

#[tokio::test]
async fn large_pieces_are_written_whole_and_in_order() {
    let outbox = Outbox::new(1 << 20);
    let payload = Bytes::from("x".repeat(100_000));
    outbox.line(b"a");
    outbox.splice(&Splice::new(payload.clone()));
    outbox.line(b"b");
    outbox.close();
    let (mut near, mut far) = tokio::io::duplex(1000);
    let writing = async {
        outbox.write_to(&mut near, Duration::from_secs(1)).await.unwrap();
        drop(near);
    };
    let mut read = Vec::new();
    let (_, result) = tokio::join!(writing, far.read_to_end(&mut read));
    result.unwrap();
    assert_eq!(read, [b"a\n".as_slice(), &payload, b"\nb\n"].concat());
    assert_eq!(outbox.waiting(), 0);
}

#[tokio::test]
async fn nobody_waits_for_a_writer_that_is_gone() {
    for how in ["closed", "overflown", "failed", "dropped"] {
        let outbox = Outbox::new(20);
        outbox.line(b"0123456789");
        let (mut near, far) = tokio::io::duplex(4);
        let writing = outbox.clone();
        let mut writing = Box::pin(async move { writing.write_to(&mut near, Duration::ZERO).await });
        let below = outbox.below(1);
        tokio::pin!(below);
        tokio::select! {
            biased;
            _ = &mut writing => panic!("nobody reads"),
            below = &mut below => panic!("it is not: {below}"),
            () = tokio::task::yield_now() => {}
        }
        match how {
            "closed" => outbox.close(),
            "overflown" => outbox.line(&[b'x'; 2 << 20]),
            "failed" => {
                drop(far);
                assert!(writing.as_mut().await.is_err());
            }
            _ => drop(writing),
        }
        assert!(!below.await, "{how}");
    }
}

#[tokio::test]
async fn a_peer_for_which_there_is_no_room_even_for_what_must_be_said_is_given_up() {
    let outbox = Outbox::new(10);
    outbox.line(&[b'x'; 2 << 20]);
    let error = outbox.write_to(&mut tokio::io::sink(), Duration::MAX).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_left_after_its_time_and_one_that_reads_a_little_is_not() {
    let flow = Rc::<Flow>::default();
    let bounds = Bounds { bytes: 1000, unread: Some(Duration::from_secs(60)) };
    let outbox = Outbox::counted(bounds, flow.clone());
    outbox.line(&[b'x'; 500]);
    assert_eq!((flow.waiting(), outbox.is_behind()), (501, true));
    let (mut near, mut far) = tokio::io::duplex(10);
    let began = tokio::time::Instant::now();
    let reading = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            // Nobody waits any more for it to go on in a moment.
            assert!(!outbox.is_behind());
            far.read_exact(&mut [0; 5]).await.unwrap();
            // Which of the two goes on first changes each time.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            assert!(outbox.is_behind());
        }
    };
    let (written, ()) = tokio::join!(outbox.write_to(&mut near, Duration::ZERO), reading);
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    assert_eq!(began.elapsed(), Duration::from_secs(560));
    drop(outbox);
    assert_eq!((flow.written(), flow.waiting()), (60, 0));
}

#[test]
fn an_answer_that_does_not_fit_is_refused_and_what_must_be_said_is_said() {
    let outbox = Outbox::new(1000);
    let answer = |size| outbox.answer(&Splice::new("x".repeat(size).into()));
    // Where nothing waits, the largest message can always be delivered.
    assert!(answer(1000));
    assert!(!answer(100));
    outbox.line(b"an error in its place");
    assert_eq!(outbox.waiting(), 1001 + 22);
}

#[test]
fn what_asks_leaves_room_for_answers() {
    let outbox = Outbox::new(1000);
    let ask = |size| outbox.ask(&Splice::new("x".repeat(size).into()));
    assert!(ask(900), "where nothing waits");
    let outbox = Outbox::new(1000);
    outbox.line(b"x");
    let ask = |size| outbox.ask(&Splice::new("x".repeat(size).into()));
    assert_eq!((ask(499), ask(400), ask(100)), (false, true, false));
}

/// What was said to a peer that is behind, after an answer of so many bytes.
fn behind(said: impl FnOnce(&Outbox)) -> Vec<String> {
    let outbox = Outbox::new(64_000);
    outbox.line(&[b'x'; 10_000]);
    said(&outbox);
    let mut written = Vec::new();
    loop {
        let mut batch = VecDeque::new();
        outbox.take(&mut batch, &mut false);
        let bytes = batch.make_contiguous().concat();
        if bytes.is_empty() {
            break;
        }
        outbox.wrote(bytes.len(), &mut batch);
        written.extend(bytes);
    }
    assert_eq!(outbox.waiting(), 0);
    String::from_utf8(written).unwrap().lines().skip(1).map(|line| line[..4].to_owned()).collect()
}

fn news(number: usize) -> Splice {
    Splice::new(format!("{number:04}{}", "-".repeat(995)).into())
}

#[test]
fn one_speaker_leaves_room_for_another_and_the_newest_of_its_topic_is_said_at_last() {
    let (flood, modest) = (Speaker::default(), Speaker::default());
    let said = behind(|outbox| {
        for number in 0..100 {
            outbox.news(&flood, Topic::Progress("1"), &news(number));
        }
        outbox.news(&modest, Topic::None, &news(5000));
    });
    // Half of 16,000 bytes.
    let mut expected: Vec<String> = (0..8).map(|number| format!("{number:04}")).collect();
    expected.extend(["5000".to_owned(), "0099".to_owned()]);
    assert_eq!(said, expected);
    assert_eq!((flood.get(), modest.get()), (91, 0));
}

#[test]
fn what_is_kept_of_a_topic_is_not_said_when_the_topic_is_over() {
    let speaker = Speaker::default();
    let said = behind(|outbox| {
        (0..10).for_each(|number| outbox.news(&speaker, Topic::None, &news(number)));
        for topic in
            [Topic::Progress("1"), Topic::State { what: "a", stream: "" }, Topic::State { what: "b", stream: "" }]
        {
            outbox.news(&speaker, topic, &news(100));
        }
        outbox.settled(Topic::Progress("1"));
    });
    assert_eq!(said[8..], ["0100", "0100"]);
    assert_eq!(speaker.get(), 2 + 1);
}

#[test]
fn what_is_kept_is_little() {
    let speaker = Speaker::default();
    let said = behind(|outbox| {
        for number in 0..1000 {
            outbox.news(&speaker, Topic::Progress(&number.to_string()), &news(number));
        }
    });
    // Half of 16,000 bytes, and a quarter of it at last.
    assert_eq!((said.len(), speaker.get()), (8 + 4, 1000 - 12));
}

#[test]
fn whoever_keeps_up_hears_everything() {
    let (outbox, speaker) = (Outbox::new(64_000), Speaker::default());
    for number in 0..1000 {
        outbox.news(&speaker, Topic::Progress("1"), &news(number));
        let mut batch = VecDeque::new();
        outbox.take(&mut batch, &mut false);
        outbox.wrote(1000, &mut batch);
    }
    assert_eq!((outbox.said(), speaker.get()), (1_000_000, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_said_last_is_waited_for_and_not_for_ever() {
    let outbox = Outbox::new(1000);
    outbox.line(b"0123456789");
    let (mut near, mut far) = tokio::io::duplex(4);
    let began = tokio::time::Instant::now();
    let closing = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        outbox.close();
        // What was on its way when it was closed goes on from there.
        let mut read = [0; 6];
        far.read_exact(&mut read).await.unwrap();
        read
    };
    let (written, read) = tokio::join!(outbox.write_to(&mut near, Duration::from_secs(2)), closing);
    assert_eq!((written.unwrap_err().kind(), &read), (io::ErrorKind::TimedOut, b"012345"));
    assert_eq!(began.elapsed(), Duration::from_secs(62));
    assert_eq!(outbox.waiting(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_keeps_what_it_was_given_is_not_waited_for_either() {
    let (near, _far) = tokio::io::duplex(4);
    let mut writer = tokio::io::BufWriter::new(near);
    let outbox = Outbox::new(1000);
    outbox.line(b"0123456789");
    outbox.close();
    let written = outbox.write_to(&mut writer, Duration::from_secs(2)).await;
    assert_eq!((written.unwrap_err().kind(), outbox.waiting()), (io::ErrorKind::TimedOut, 0));
}
