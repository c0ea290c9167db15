//! Whether events come in the order in which they were published: all of them, or, where they are published to several
//! topics in turn, those of each topic.

/// What has come so far.
#[derive(Debug)]
pub struct Order {
    came: u64,
    /// The number that is due next in each topic; none for a single one, where that is how many came.
    due: Vec<u64>,
}

impl Order {
    pub fn new(topics: usize) -> Order {
        Order { came: 0, due: if topics > 1 { (0..topics as u64).collect() } else { Vec::new() } }
    }

    /// How many came.
    pub fn came(&self) -> u64 {
        self.came
    }

    /// Takes an event, or says which number was due in its place.
    pub fn take(&mut self, number: u64) -> Result<(), u64> {
        let topics = self.due.len() as u64;
        if topics == 0 {
            if number != self.came {
                return Err(self.came);
            }
        } else {
            let due = &mut self.due[(number % topics) as usize];
            if number != *due {
                return Err(*due);
            }
            *due += topics;
        }
        self.came += 1;
        Ok(())
    }

    /// Whether others may still come after the one that was published last.
    pub fn is_loose(&self) -> bool {
        !self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_topic_is_in_order_of_all() {
        let mut order = Order::new(1);
        assert_eq!((order.take(0), order.take(2), order.take(1)), (Ok(()), Err(1), Ok(())));
        assert_eq!((order.came(), order.is_loose()), (2, false));
    }

    #[test]
    fn several_are_in_order_each() {
        let mut order = Order::new(3);
        for number in [2, 0, 5, 3, 6] {
            assert_eq!(order.take(number), Ok(()));
        }
        assert_eq!((order.take(4), order.take(1), order.take(11)), (Err(1), Ok(()), Err(8)));
        assert_eq!((order.came(), order.is_loose()), (6, true));
    }
}
