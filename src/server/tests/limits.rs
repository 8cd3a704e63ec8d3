//! Limits on the size and speed of clients.

use super::*;
use crate::budget::Budget;
use crate::server::input::RequestBudgets;

/// The length and the key of a frame, and nothing else.
fn promise(key: i16, length: usize) -> Vec<u8> {
    [&i32::try_from(length).unwrap().to_be_bytes()[..], &key.to_be_bytes()].concat()
}

#[tokio::test(start_paused = true)]
async fn a_declared_size_costs_nothing_before_its_bytes_arrive() {
    let stage = Stage::new();
    let mut client = stage.connect();
    client.send(&promise(OVERLAPPING, 100 << 20)).await;
    settle().await;
    assert!(stage.shared.requests.large.held() <= 64 << 10);
    client.send(&vec![0; 1 << 20]).await;
    settle().await;
    let held = stage.shared.requests.large.held();
    assert!((1 << 20..=2 << 20).contains(&held), "{held} bytes are held for 1 MiB");
    drop(client);
    settle().await;
    assert_eq!(stage.shared.requests.large.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_frame_gets_as_much_memory_at_once_as_the_one_before() {
    let stage = Stage::new();
    let mut client = stage.connect();
    let gate = Gate::new();
    let size = 1 << 20;
    let mut request = ask(OVERLAPPING, 1, "heavy", &gate);
    request.resize(4 + size, 0);
    request[..4].copy_from_slice(&i32::try_from(size).unwrap().to_be_bytes());
    client.send(&request).await;
    gate.open();
    client.answer().await;
    settle().await;
    assert_eq!(stage.shared.requests.large.held(), 0);
    client.send(&promise(OVERLAPPING, 100 << 20)).await;
    settle().await;
    let held = stage.shared.requests.large.held();
    assert!((size..size + (64 << 10)).contains(&held), "{held} bytes are held after a frame of 1 MiB");
}

#[tokio::test(start_paused = true)]
async fn memory_in_advance_is_only_for_produce_and_only_until_the_client_pauses() {
    let stage = Stage::new();
    let gate = Gate::new();
    gate.open();
    let mut request = ask(OVERLAPPING, 1, "heavy", &gate);
    request.resize(4 + (1 << 20), 0);
    request[..4].copy_from_slice(&(1_i32 << 20).to_be_bytes());
    for (pause, promised) in [(0, promise(ORDINARY, 8 << 20)), (11, promise(OVERLAPPING, 100 << 20))] {
        let mut client = stage.connect();
        client.send(&request).await;
        client.answer().await;
        pass(Duration::from_secs(pause)).await;
        client.send(&promised).await;
        settle().await;
        let held = stage.shared.requests.large.held();
        assert!((1..=8 * (64 << 10)).contains(&held), "{held} bytes are held before they arrive");
        drop(client);
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_dribbles_in_is_given_up_and_one_that_flows_is_not() {
    let stage = Stage::new();
    let (mut slow, mut flowing) = (stage.connect(), stage.connect());
    slow.send(&promise(OVERLAPPING, 8 << 20)).await;
    flowing.send(&promise(OVERLAPPING, 8 << 20)).await;
    for _ in 0..4 {
        pass(Duration::from_secs(10)).await;
        // At least 1 KiB per second has to arrive. The connection may be closed by now.
        let _ = slow.stream.write_all(&[0; 100]).await;
        flowing.send(&[0; 16 << 10]).await;
    }
    assert_eq!(slow.end().await, End::TooSlow);
    assert!(!flowing.served.is_finished());
}

#[tokio::test(start_paused = true)]
async fn the_dribbling_of_a_small_frame_is_given_up_too() {
    let mut client = Stage::new().connect();
    client.send(b"\0\0").await;
    pass(Duration::from_secs(29)).await;
    assert!(!client.served.is_finished());
    pass(Duration::from_secs(1)).await;
    assert_eq!(client.end().await, End::TooSlow);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_idle_when_nothing_was_asked_for_a_while() {
    let stage = Stage::with(|shared| shared.limits.idle = Duration::from_secs(60));
    let mut client = stage.connect();
    let gate = Gate::new();
    for id in 0..3 {
        pass(Duration::from_secs(59)).await;
        client.send(&ask(ORDINARY, id, "now", &gate)).await;
        assert_eq!(client.answer().await.0, id);
    }
    pass(Duration::from_secs(61)).await;
    assert_eq!(client.end().await, End::Idle);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_answer_is_not_idleness() {
    let stage = Stage::with(|shared| shared.limits.idle = Duration::from_secs(60));
    let mut client = stage.connect();
    let gate = Gate::new();
    client.send(&ask(ORDINARY, 1, "later", &gate)).await;
    pass(Duration::from_secs(600)).await;
    gate.open();
    assert_eq!(client.answer().await.0, 1);
    pass(Duration::from_secs(59)).await;
    assert!(!client.served.is_finished());
    pass(Duration::from_secs(2)).await;
    assert_eq!(client.end().await, End::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_may_be_gone_is_not_waited_for_for_ever() {
    let stage = Stage::with(|shared| shared.limits.idle = Duration::from_secs(60));
    let mut client = stage.connect();
    client.send(&ask(ORDINARY, 1, "later", &Gate::new())).await;
    client.stream.shutdown().await.unwrap();
    pass(Duration::from_secs(61)).await;
    assert_eq!(client.end().await, End::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_gets_nothing_more_served_and_is_given_up() {
    let stage = Stage::new();
    let mut client = stage.connect_through(4 << 10);
    let gate = Gate::new();
    for id in 0..10 {
        client.send(&ask(ORDINARY, id, "large", &gate)).await;
    }
    pass(Duration::from_secs(59)).await;
    assert_eq!(gate.begun(), 1, "an answer of {LARGE_ANSWER} bytes is enough to wait for");
    let held = stage.shared.answers.held();
    assert_eq!(held, LARGE_ANSWER);
    pass(Duration::from_secs(1)).await;
    assert_eq!(client.rest().await.1, End::NotReading);
    assert_eq!(stage.shared.answers.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_is_served_on() {
    let mut client = Stage::new().connect_through(4 << 10);
    let gate = Gate::new();
    client.send(&ask(ORDINARY, 1, "large", &gate)).await;
    client.send(&ask(ORDINARY, 2, "now", &gate)).await;
    let mut left = LARGE_ANSWER;
    while left > 0 {
        pass(Duration::from_secs(50)).await;
        let mut some = vec![0; left.min(40 << 10)];
        left -= client.stream.read_exact(&mut some).await.unwrap();
    }
    assert_eq!(client.answer().await.0, 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_100_requests_of_a_connection_wait_for_their_answers() {
    let mut client = Stage::new().connect();
    let gate = Gate::new();
    for id in 0..150 {
        client.send(&ask(OVERLAPPING, id, if id % 2 == 0 { "later" } else { "silent" }, &gate)).await;
    }
    settle().await;
    assert_eq!(gate.begun(), 100);
    gate.open();
    for id in (0..150).step_by(2) {
        assert_eq!(client.answer().await.0, id);
    }
}

#[tokio::test(start_paused = true)]
async fn large_requests_of_a_connection_wait_for_their_answers_up_to_12_mib() {
    let mut client = Stage::new().connect();
    let gate = Gate::new();
    let ask_at_length = |id| {
        let mut body = script("heavy", &gate);
        body.extend(vec![0; 3 << 20]);
        frame(OVERLAPPING, 3, id, &body)
    };
    client.send(&ask_at_length(0)).await;
    settle().await;
    let rest: Vec<u8> = (1..14).flat_map(ask_at_length).collect();
    let (mut read, mut write) = tokio::io::split(client.stream);
    let sending = tokio::spawn(async move { write.write_all(&rest).await });
    settle().await;
    assert_eq!(gate.begun(), 3, "a fourth and what the headers weigh would make it more than 12 MiB");
    gate.open();
    for _ in 0..14 {
        let length = read.read_u32().await.unwrap();
        read.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.unwrap();
    }
    assert_eq!(gate.begun(), 14);
    sending.await.unwrap().unwrap();
}

/// The number of requests of a greedy client that are begun before that of a later client. The pipe
/// accepts every response at once, so only the turn limits the greedy client.
async fn greed(what: &str, change: impl FnOnce(&mut Shared)) -> usize {
    let stage = Stage::with(change);
    let (mut greedy, mut good) = (stage.connect_through(64 << 20), stage.connect());
    let (greed, modesty) = (Gate::new(), Gate::new());
    let all: Vec<u8> = (0..500).flat_map(|id| ask(ORDINARY, id, what, &greed)).collect();
    greedy.send(&all).await;
    good.send(&ask(ORDINARY, 1, "now", &modesty)).await;
    // A separate task is woken at once; this one only when all others are idle.
    let begun = tokio::spawn(async move {
        assert_eq!(good.answer().await.0, 1);
        greed.begun()
    });
    begun.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_a_connection_ends_after_so_many_requests_or_bytes() {
    // There may have been another turn before the response is read.
    let requests = greed("now", |shared| shared.limits.turn_requests = 10).await;
    assert!((10..=30).contains(&requests), "{requests}");
    let answers = greed("large", |shared| shared.limits.turn_bytes = 2 * LARGE_ANSWER).await;
    assert!((2..=6).contains(&answers), "{answers}");
}

fn budgets(small: usize, large: usize) -> Stage {
    Stage::with(|shared| {
        shared.requests = Arc::new(RequestBudgets { small: Budget::new(small), large: Budget::new(large) });
    })
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_budget_wait_until_others_are_answered() {
    let stage = budgets(70, 1 << 20);
    let (mut first, mut second) = (stage.connect(), stage.connect());
    let (waited_for, waiting) = (Gate::new(), Gate::new());
    for id in 0..5 {
        first.send(&ask(OVERLAPPING, id, "later", &waited_for)).await;
    }
    settle().await;
    second.send(&ask(ORDINARY, 9, "now", &waiting)).await;
    settle().await;
    assert!(stage.shared.requests.small.held() <= 70);
    assert!((1..5).contains(&waited_for.begun()));
    assert_eq!(waiting.begun(), 0);
    waited_for.open();
    assert_eq!(second.answer().await.0, 9);
    assert_eq!(first.correlations().await, [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn requests_whose_clients_let_them_wait_hold_no_memory_that_others_need() {
    for what in ["at-will", "later-at-will"] {
        let stage = budgets(20 << 10, 256 << 10);
        let mut waiting = Vec::new();
        // A small one and a large one of each client, more than fit at the same time.
        for size in [9_000, 32_000].repeat(10) {
            let mut client = stage.connect();
            client.send(&large(ORDINARY, what, &Gate::new(), size)).await;
            // Its read buffer becomes small again, too.
            pass(Duration::from_secs(11)).await;
            waiting.push(client);
        }
        assert_eq!(
            (stage.shared.requests.small.held(), stage.shared.requests.large.held()),
            (0, 0),
            "{what}"
        );
        let mut good = stage.connect();
        good.send(&large(ORDINARY, "now", &Gate::new(), 14 << 10)).await;
        assert_eq!(good.answer().await.0, 1, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_one_that_waits_makes_room_for_one_that_does_not() {
    let stage = budgets(20 << 10, 256 << 10);
    let gate = Gate::new();
    let mut hoarder = stage.connect();
    hoarder.send(&ask(ORDINARY, 1, "at-will", &gate)).await;
    hoarder.send(&large(ORDINARY, "now", &gate, 15_000)).await;
    settle().await;
    assert!(stage.shared.requests.small.held() >= 10_000);
    let mut good = stage.connect();
    good.send(&large(ORDINARY, "now", &Gate::new(), 14 << 10)).await;
    assert_eq!(good.answer().await.0, 1);
    assert_eq!(hoarder.end().await, End::MadeRoom);
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_a_small_request_behind_one_that_waits_make_room_for_a_request_that_does_not() {
    let stage = budgets(41 << 10, 256 << 10);
    let gate = Gate::new();
    let mut hoarders = Vec::new();
    for size in [15_000, 15_000, 5_000, 5_000, 5_000] {
        let mut hoarder = stage.connect();
        // The read buffer grows for the first one.
        let first = large(ORDINARY, "at-will", &gate, size);
        let (begun, rest) = first.split_at(3_000);
        hoarder.send(begun).await;
        settle().await;
        hoarder.send(&[rest, &ask(ORDINARY, 2, "now", &gate), &promise(ORDINARY, 10_000)].concat()).await;
        settle().await;
        hoarders.push(hoarder);
    }
    assert!(stage.shared.requests.small.held() > 30_000);
    let mut good = stage.connect();
    good.send(&large(ORDINARY, "now", &Gate::new(), 14 << 10)).await;
    assert_eq!(good.answer().await.0, 1);
    assert_eq!(hoarders.remove(0).end().await, End::MadeRoom);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_behind_another_and_now_waits_for_the_broker_is_not_taken_for_a_hoarder() {
    let stage = budgets(20 << 10, 256 << 10);
    let gate = Gate::new();
    let mut first = stage.connect();
    first.send(&ask(ORDINARY, 1, "at-will", &gate)).await;
    first.send(&large(ORDINARY, "now", &Gate::new(), 15_000)).await;
    pass(Duration::from_secs(10)).await;
    let others = stage.shared.answers.charge_at_once(1 << 40);
    gate.open();
    assert_eq!(first.answer().await.0, 1);
    let mut second = stage.connect();
    second.send(&large(ORDINARY, "now", &Gate::new(), 14 << 10)).await;
    pass(Duration::from_secs(10)).await;
    drop(others);
    assert_eq!(first.answer().await.0, 1);
    assert_eq!(second.answer().await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_one_that_the_broker_lets_wait_is_not_taken_for_a_hoarder() {
    let stage = budgets(20 << 10, 256 << 10);
    let (gate, behind) = (Gate::new(), Gate::new());
    let mut first = stage.connect();
    first.send(&ask(ORDINARY, 1, "slowly", &gate)).await;
    first.send(&large(ORDINARY, "now", &behind, 15_000)).await;
    let mut second = stage.connect();
    second.send(&large(ORDINARY, "now", &Gate::new(), 14 << 10)).await;
    pass(Duration::from_secs(10)).await;
    gate.open();
    assert_eq!(first.correlations().await, [1, 1]);
    assert_eq!(second.answer().await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn small_requests_go_through_while_large_ones_fill_the_memory() {
    let stage = budgets(64 << 10, 256 << 10);
    let mut hoarders = Vec::new();
    for _ in 0..8 {
        let mut hoarder = stage.connect();
        hoarder.send(&promise(OVERLAPPING, 1 << 20)).await;
        hoarder.send(&vec![0; 100 << 10]).await;
        hoarders.push(hoarder);
    }
    settle().await;
    assert!(stage.shared.requests.large.held() <= 256 << 10);
    let mut good = stage.connect();
    good.send(&ask(ORDINARY, 1, "now", &Gate::new())).await;
    assert_eq!(good.answer().await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn half_a_request_that_does_not_move_makes_room_for_one_that_does() {
    let stage = budgets(64 << 10, 256 << 10);
    let mut hoarder = stage.connect();
    hoarder.send(&promise(OVERLAPPING, 250 << 10)).await;
    hoarder.send(&vec![0; 249 << 10]).await;
    settle().await;
    let gate = Gate::new();
    let mut good = stage.connect();
    good.send(&large(ORDINARY, "now", &gate, 20_000)).await;
    settle().await;
    assert_eq!(gate.begun(), 0);
    assert_eq!(good.answer().await.0, 1);
    assert_eq!(hoarder.end().await, End::MadeRoom);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_byte_by_byte_makes_room_for_one_that_moves() {
    // A large request, and a small one that lies in the read buffer.
    for (key, length, sent, size) in
        [(OVERLAPPING, 250 << 10, 249 << 10, 20_000), (ORDINARY, 14 << 10, 1 << 10, 14 << 10)]
    {
        let stage = budgets(20 << 10, 256 << 10);
        let mut hoarder = stage.connect();
        hoarder.send(&promise(key, length)).await;
        hoarder.send(&vec![0; sent]).await;
        settle().await;
        let gate = Gate::new();
        let mut good = stage.connect();
        good.send(&large(ORDINARY, "now", &gate, size)).await;
        for _ in 0..5 {
            pass(Duration::from_secs(1)).await;
            // It fails once the connection is closed.
            let _ = hoarder.stream.write_all(&[0]).await;
        }
        assert_eq!(good.answer().await.0, 1);
        assert_eq!(hoarder.end().await, End::MadeRoom);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_do_not_wait_for_each_others_read_buffers() {
    let stage = budgets(64 << 10, 256 << 10);
    let gate = Gate::new();
    let mut clients: Vec<_> = (0..8).map(|_| stage.connect()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.send(&large(ORDINARY, "now", &gate, 14 << 10)).await;
        }
        for client in &mut clients {
            assert_eq!(client.answer().await.0, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_bytes_of_a_large_request_make_room_for_one_that_moves() {
    let stage = budgets(64 << 10, 256 << 10);
    let mut hoarders = Vec::new();
    for _ in 0..4 {
        let mut hoarder = stage.connect();
        hoarder.send(&promise(OVERLAPPING, 1 << 20)).await;
        hoarders.push(hoarder);
    }
    settle().await;
    assert_eq!(stage.shared.requests.large.held(), 256 << 10);
    let gate = Gate::new();
    let mut good = stage.connect();
    good.send(&large(ORDINARY, "now", &gate, 20_000)).await;
    assert_eq!(good.answer().await.0, 1);
    let mut closed = 0;
    for hoarder in hoarders {
        closed += usize::from(hoarder.end().await == End::MadeRoom);
    }
    assert_eq!(closed, 3, "that many hold what the request needs");
}

#[tokio::test(start_paused = true)]
async fn the_first_bytes_of_small_requests_make_room_for_one_that_moves() {
    let stage = budgets(64 << 10, 256 << 10);
    let mut hoarders = Vec::new();
    for _ in 0..8 {
        let mut hoarder = stage.connect();
        hoarder.send(&promise(ORDINARY, 14 << 10)).await;
        hoarders.push(hoarder);
    }
    settle().await;
    let gate = Gate::new();
    let mut good = stage.connect();
    good.send(&large(ORDINARY, "now", &gate, 14 << 10)).await;
    assert_eq!(good.answer().await.0, 1);
    let mut closed = 0;
    for hoarder in hoarders {
        closed += usize::from(hoarder.end().await == End::MadeRoom);
    }
    assert!(closed > 0);
}

#[tokio::test(start_paused = true)]
async fn small_requests_go_through_while_large_answers_fill_the_memory() {
    // One large response exceeds the limit for large responses, but not the budget.
    let stage = Stage::with(|shared| shared.answers = Budget::new(LARGE_ANSWER + (10 << 10)));
    let (stuck, bulky, small) = (Gate::new(), Gate::new(), Gate::new());
    let mut unread = stage.connect_through(4 << 10);
    unread.send(&ask(BULKY, 1, "large", &stuck)).await;
    settle().await;
    let (mut second, mut good) = (stage.connect(), stage.connect());
    second.send(&ask(BULKY, 2, "now", &bulky)).await;
    good.send(&ask(ORDINARY, 3, "now", &small)).await;
    assert_eq!(good.answer().await.0, 3);
    assert_eq!(bulky.begun(), 0);
    let mut answer = vec![0; LARGE_ANSWER];
    unread.stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(second.answer().await.0, 2);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_not_read_make_room_for_those_that_are() {
    let stage = Stage::with(|shared| shared.answers = Budget::new(500 << 10));
    let gate = Gate::new();
    let (mut stuck, mut stuck_too) = (stage.connect_through(4 << 10), stage.connect_through(4 << 10));
    stuck.send(&ask(BULKY, 1, "large", &gate)).await;
    stuck_too.send(&ask(BULKY, 1, "large", &gate)).await;
    settle().await;
    let mut good = stage.connect();
    good.send(&ask(BULKY, 2, "now", &gate)).await;
    settle().await;
    assert_eq!(gate.begun(), 2);
    assert_eq!(good.answer().await.0, 2);
    // Closing one was enough: it held more than the new request needs.
    assert_eq!(stuck.rest().await.1, End::MadeRoom);
    assert!(!stuck_too.served.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_byte_by_byte_makes_room_for_one_that_is_read() {
    let stage = Stage::with(|shared| shared.answers = Budget::new(LARGE_ANSWER));
    let gate = Gate::new();
    let mut stuck = stage.connect_through(4 << 10);
    stuck.send(&ask(BULKY, 1, "large", &gate)).await;
    settle().await;
    let mut good = stage.connect();
    good.send(&ask(BULKY, 2, "now", &gate)).await;
    for _ in 0..5 {
        pass(Duration::from_secs(1)).await;
        stuck.stream.read_exact(&mut [0]).await.unwrap();
    }
    assert_eq!(good.answer().await.0, 2);
    assert_eq!(stuck.rest().await.1, End::MadeRoom);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_byte_by_byte_is_given_up() {
    let stage = Stage::new();
    let mut client = stage.connect_through(4 << 10);
    client.send(&ask(ORDINARY, 1, "large", &Gate::new())).await;
    for _ in 0..60 {
        pass(Duration::from_secs(1)).await;
        client.stream.read_exact(&mut [0]).await.unwrap();
    }
    assert_eq!(client.rest().await.1, End::NotReading);

    let mut slow = stage.connect_through(4 << 10);
    slow.send(&ask(ORDINARY, 1, "large", &Gate::new())).await;
    for _ in 0..9 {
        pass(Duration::from_secs(59)).await;
        slow.stream.read_exact(&mut [0; 30 << 10]).await.unwrap();
    }
    assert!(!slow.served.is_finished(), "it reads enough");
}

/// A request of at least `size` bytes, most of them in the client id.
fn large(key: i16, what: &str, gate: &Gate, size: u16) -> Vec<u8> {
    let mut request = ask(key, 1, what, gate);
    let name = size.to_be_bytes().into_iter().chain(vec![b'x'; usize::from(size)]);
    request.splice(12..14, name);
    let length = i32::try_from(request.len() - 4).unwrap();
    request[..4].copy_from_slice(&length.to_be_bytes());
    request
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_memory_is_not_taken_for_a_slow_one() {
    let stage = budgets(64 << 10, 110 << 10);
    let gate = Gate::new();
    let mut first = stage.connect();
    first.send(&large(OVERLAPPING, "later", &gate, 30_000)).await;
    settle().await;
    let mut second = stage.connect();
    second.send(&promise(OVERLAPPING, 100_000)).await;
    second.send(&vec![0; 99_998]).await;
    pass(Duration::from_secs(100)).await;
    assert!(!second.served.is_finished());
    gate.open();
    assert_eq!(first.answer().await.0, 1);
    // The request arrived completely and was decoded: there is no version 0.
    assert_eq!(second.end().await, End::NotServed { key: OVERLAPPING, version: 0 });
}

#[tokio::test(start_paused = true)]
async fn the_read_buffer_of_a_busy_time_is_charged_and_given_back() {
    let stage = Stage::new();
    let mut client = stage.connect();
    let gate = Gate::new();
    let requests: Vec<u8> = (0..5000).flat_map(|id| ask(ORDINARY, id, "now", &gate)).collect();
    client.send(&requests).await;
    for id in 0..5000 {
        assert_eq!(client.answer().await.0, id);
    }
    settle().await;
    let held = stage.shared.requests.small.held();
    assert!((1..64 << 10).contains(&held), "{held} bytes of read buffer");
    pass(Duration::from_secs(11)).await;
    assert_eq!(stage.shared.requests.small.held(), 0);
}
