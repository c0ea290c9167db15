//! The table as text, for those who keep it.

use super::model::{Column, Model, short};
use super::source::{Update, look};
use nlbus::{Bus, Filter};
use nlbus_subscribers::end::{End, say};
use nlbus_subscribers::text::Escaped;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

/// Prints the table once an interval, so many times; the first one after an interval, so that there are rates.
pub fn run(bus: &Bus, filter: &Filter, interval: Duration, count: Option<u64>) -> Result<(), End> {
    let mut model = Model::new(filter);
    model.update(Update::Look(Box::new(look(bus).map_err(End::Failed)?)));
    for printed in 1.. {
        thread::sleep(interval);
        match look(bus) {
            Ok(look) => {
                model.update(Update::Look(Box::new(look)));
                io::stdout()
                    .write_all(table(&model).as_bytes())
                    .and_then(|()| io::stdout().flush())
                    .map_err(End::output)?;
            }
            // The next one may be there in time for the next look.
            Err(error) => say(&error),
        }
        if count == Some(printed) {
            break;
        }
    }
    Ok(())
}

fn table(model: &Model) -> String {
    let mut text = format!("{}\n", model.broker);
    for column in &Column::ALL[1..] {
        let _ = write!(text, "{:>9}  ", column.title());
    }
    let _ = writeln!(text, "{}", Column::Topic.title());
    for row in &model.rows {
        let subscribers = row.subscribers.map_or("-".into(), |count| count.to_string());
        let (kept, size, drops) = (short(row.kept as f64), short(row.size as f64), short(row.drops as f64));
        for cell in [short(row.rate), short(row.bytes), kept, size, subscribers, drops] {
            let _ = write!(text, "{cell:>9}  ");
        }
        let _ = writeln!(text, "{}", Escaped::field(&row.topic));
    }
    text.push('\n');
    text
}
