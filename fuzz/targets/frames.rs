//! Any bytes, to whatever reads frames: nothing panics, and what a broker accepts it can write again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nlbus::wire::{
    Answer, Content, EventView, Heartbeat, Info, Messages, PublishView, ReplayEnd, ReplayRequest, Request,
    TopicDeleted, TopicPageEnd, TopicRecord, TopicRequest, TopicsAnnouncement, WillRequest, check_datagram, family_id,
    genl_info_reply, push_publish,
};

fuzz_target!(|bytes: &[u8]| {
    for message in Messages::new(bytes).map_while(Result::ok) {
        let body = message.body;
        let _ = (EventView::parse(body), Info::read(body), TopicRecord::read(body), TopicPageEnd::read(body));
        let _ = TopicDeleted::read(body);
        let _ =
            (ReplayEnd::read(body), Answer::parse(&message), genl_info_reply(&message), family_id(&message, "nlbus"));
        let _ = (Heartbeat::read(body), TopicsAnnouncement::read(body), WillRequest::check(body));
        if let Ok(request) = TopicRequest::check(message.header.flags, body) {
            let mut again = Vec::new();
            request.push(&mut again, 1);
            let again = Messages::new(&again).next().unwrap().unwrap();
            assert_eq!(TopicRequest::check(again.header.flags, again.body), Ok(request));
        }
        if let Ok(request) = ReplayRequest::check(body) {
            let mut again = Vec::new();
            request.push(&mut again, 1);
            let again = Messages::new(&again).next().unwrap().unwrap();
            assert_eq!(ReplayRequest::check(again.body), Ok(request));
        }
        if let Ok(event) = PublishView::check(&message) {
            let mut again = Vec::new();
            push_publish(&mut again, 1, false, 0, Content::from_wire(event.content), event.topic, event.payload);
            let again = Messages::new(&again).next().unwrap().unwrap();
            let again = PublishView::check(&again).unwrap();
            assert_eq!((again.topic, again.payload, again.content), (event.topic, event.payload, event.content));
        }
    }
    // What is checked whole has no bad message, and what is refused names one within it.
    match check_datagram(bytes) {
        Ok(requests) => {
            // Each message once: a run is several.
            let mut count = 0;
            for (_, request) in &requests {
                let Request::Publish(run) = request else {
                    count += 1;
                    continue;
                };
                for message in run.messages() {
                    let message = Messages::new(message).next().unwrap().unwrap();
                    assert_eq!(PublishView::check(&message).unwrap().topic, run.topic);
                    count += 1;
                }
            }
            assert_eq!(count, Messages::new(bytes).count());
        }
        Err(refused) => assert!(!refused.refusal.message.is_empty()),
    }
});
