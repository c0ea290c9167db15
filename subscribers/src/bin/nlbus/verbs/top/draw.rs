//! The picture: what fits, the most important first.

use super::keys::HELP;
use super::model::{Column, Model, Row, short};
use nlbus_subscribers::text::Escaped;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Table, TableState};
use std::cmp::min;

/// Lines from which on there is room for the clients, and for events.
const WITH_CLIENTS: u16 = 20;
const WITH_EVENTS: u16 = 12;

/// Widths of the columns behind the topic.
const WIDTHS: [u16; 6] = [9, 8, 8, 8, 5, 6];

pub fn draw(frame: &mut Frame, model: &mut Model) {
    let area = frame.area();
    let events = if model.shows_events && area.height >= WITH_EVENTS { area.height / 4 } else { 0 };
    let wanted = min(model.clients.len() as u16 + 2, area.height / 4);
    let clients = if model.shows_clients && area.height >= WITH_CLIENTS { wanted.max(3) } else { 0 };
    let [header, table, events, clients, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(events),
        Constraint::Length(clients),
        Constraint::Length(u16::from(area.height > 2)),
    ])
    .areas(area);
    frame.render_widget(self::header(model), header);
    topics(frame, model, table);
    if events.height > 0 {
        self::events(frame, model, events);
    }
    if clients.height > 0 {
        self::clients(frame, model, clients);
    }
    frame.render_widget(self::footer(model), footer);
    if model.shows_help {
        help(frame, area);
    }
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn reversed() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

fn header(model: &Model) -> Line<'_> {
    match &model.trouble {
        Some(trouble) => {
            Line::from(vec![Span::styled("nlbus top", bold()), Span::raw(": "), Span::styled(&**trouble, reversed())])
        }
        None => Line::from(vec![Span::styled("nlbus top", bold()), Span::raw(": "), Span::raw(&*model.broker)]),
    }
}

fn footer(model: &Model) -> Line<'_> {
    if let Some(editing) = &model.editing {
        let error = editing.error.as_deref().map(|error| format!("  {error}")).unwrap_or_default();
        return Line::from(vec![Span::styled(format!("filter: {}_", editing.text), bold()), Span::raw(error)]);
    }
    let mut said = String::from("h help  q quit  / filter  p pause  < > sort");
    if let Some(filter) = &model.filter {
        said.push_str("  only ");
        said.push_str(filter.as_str());
    }
    let paused = Span::styled(if model.is_paused { "PAUSED " } else { "" }, reversed());
    Line::from(vec![paused, Span::raw(said)])
}

fn topics(frame: &mut Frame, model: &mut Model, area: Rect) {
    let titles = Column::ALL.map(|column| {
        let mark = if column != model.sort {
            ""
        } else if model.is_reversed {
            "▲"
        } else {
            "▼"
        };
        let title = format!("{mark}{}", column.title());
        if column == Column::Topic { Cell::from(title) } else { Cell::from(Line::from(title).right_aligned()) }
    });
    let widths = std::iter::once(Constraint::Min(5)).chain(WIDTHS.map(Constraint::Length));
    let rows: Vec<_> = model.rows.iter().map(row).collect();
    let table = Table::new(rows, widths)
        .header(ratatui::widgets::Row::new(titles).style(reversed()))
        .row_highlight_style(bold());
    let mut state = TableState::new().with_offset(model.offset).with_selected(model.selected);
    frame.render_stateful_widget(table, area, &mut state);
    model.offset = state.offset();
}

fn row(row: &Row) -> ratatui::widgets::Row<'static> {
    let number = |text: String| Cell::from(Line::from(text).right_aligned());
    let mut topic = Escaped::field(&row.topic).to_string();
    if !row.type_name.is_empty() {
        topic = format!("{topic} ({})", row.type_name);
    }
    ratatui::widgets::Row::new([
        Cell::from(topic),
        number(short(row.rate)),
        number(short(row.bytes)),
        number(short(row.kept as f64)),
        number(short(row.size as f64)),
        number(row.subscribers.map_or("-".into(), |count| count.to_string())),
        number(short(row.drops as f64)),
    ])
}

fn events(frame: &mut Frame, model: &Model, area: Rect) {
    let lines: Vec<Line> = match &model.no_events {
        Some(why) => vec![Line::from(&**why)],
        None => {
            let is_shown = |topic: &str| model.filter.as_ref().is_none_or(|filter| filter.matches(topic));
            let shown = model.events.iter().filter(|(topic, _)| is_shown(topic));
            shown.take(area.height.into()).map(|(_, line)| Line::from(&**line)).collect()
        }
    };
    frame.render_widget(Paragraph::new(lines).block(Block::new().borders(Borders::TOP).title("newest events")), area);
}

fn clients(frame: &mut Frame, model: &Model, area: Rect) {
    let header = ["PORT", "QUEUED", "DROPS", "PROCESS"];
    let rows = model.clients.iter().map(|client| {
        let process = client.process.as_ref();
        let process =
            process.map_or("-".into(), |(pid, command)| format!("{pid} {}", Escaped::text(command.as_bytes())));
        let socket = &client.socket;
        ratatui::widgets::Row::new([
            socket.portid.to_string(),
            short(socket.queued as f64),
            short(socket.drops as f64),
            process,
        ])
    });
    let widths = [Constraint::Length(11), Constraint::Length(7), Constraint::Length(7), Constraint::Min(5)];
    let table = Table::new(rows, widths).header(ratatui::widgets::Row::new(header));
    frame.render_widget(table.block(Block::new().borders(Borders::TOP).title("clients")), area);
}

fn help(frame: &mut Frame, area: Rect) {
    let height = min(HELP.len() as u16 + 2, area.height);
    let width = min(76, area.width);
    let middle = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    let line = |(key, what): &(&'static str, &'static str)| {
        Line::from(vec![Span::styled(format!("{key:<14}"), bold()), Span::raw(*what)])
    };
    let lines: Vec<_> = HELP.iter().map(line).collect();
    frame.render_widget(Clear, middle);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title("keys; any key goes on")), middle);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn model() -> Model {
        let mut model = Model::new(&"#".parse().unwrap());
        let row = |topic: &str, rate: f64| Row {
            topic: topic.into(),
            type_name: String::new(),
            rate,
            bytes: rate * 64.0,
            kept: 1000,
            size: 64_000,
            subscribers: Some(2),
            drops: 0,
        };
        model.rows = (0..50)
            .map(|number| row(&format!("sensors/{number}/a name that is rather long"), 50.0 - f64::from(number)))
            .collect();
        model.events.push_front(("sensors/1".into(), "sensors/1 #7 21.5".into()));
        model
    }

    fn picture(model: &mut Model, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn any_size_is_drawn() {
        for width in [1, 2, 5, 10, 39, 40, 80, 200] {
            for height in [1, 2, 3, 5, 11, 12, 19, 20, 24, 60] {
                for shows_help in [false, true] {
                    let mut model = model();
                    (model.shows_help, model.selected) = (shows_help, 49);
                    picture(&mut model, width, height);
                }
            }
        }
    }

    #[test]
    fn the_selected_line_is_on_the_screen() {
        let mut model = model();
        assert!(!picture(&mut model, 80, 24).contains("sensors/49/"));
        model.selected = 49;
        assert!(picture(&mut model, 80, 24).contains("sensors/49/"));
        model.selected = 0;
        assert!(picture(&mut model, 80, 24).contains("sensors/0/"));
    }

    #[test]
    fn what_has_room_is_shown() {
        let mut model = model();
        let large = picture(&mut model, 80, 24);
        for part in
            ["nlbus top", "TOPIC", "▼EVENTS/S", "DROPS", "newest events", "sensors/1 #7 21.5", "clients", "h help"]
        {
            assert!(large.contains(part), "{part}: {large}");
        }
        let small = picture(&mut model, 80, 8);
        assert!(!small.contains("newest events") && small.contains("sensors/0/"), "{small}");
    }
}
