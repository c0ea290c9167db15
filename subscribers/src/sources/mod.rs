//! What the event sources publish, as types that subscribers decode into, and how they publish it. The types are what
//! `Bus::subscribe_as` takes; their JSON and their bincode are the same values.

pub mod links;
pub mod outlet;
pub mod proc;
pub mod uevent;
