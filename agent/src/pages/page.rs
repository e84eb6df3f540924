//! The status page. What matters comes first, and is said in words, not by colour alone.

use etcdr_schemas::report::{StatusReport, StatusWarning};

use super::format::{self, moment, relative, span};
use super::html::Html;
use super::{chart, sections};

/// Share of the target from which it is near, in percent.
const NEAR_PERCENT: u64 = 80;

/// How the agent does what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    OnTarget,
    Near,
    Over,
    Nothing,
    Unknown,
}

impl Standing {
    fn of(report: &StatusReport) -> Self {
        let target = report.newest.target_age_seconds;
        match report.newest.age_seconds {
            None if report.stored.is_none() => Self::Unknown,
            None => Self::Nothing,
            Some(_) if !report.newest.on_target => Self::Over,
            Some(age) if age.saturating_mul(100) >= target.saturating_mul(NEAR_PERCENT) => {
                Self::Near
            }
            Some(_) => Self::OnTarget,
        }
    }

    const fn tone(self) -> &'static str {
        match self {
            Self::OnTarget => "good",
            Self::Near | Self::Unknown => "near",
            Self::Over | Self::Nothing => "bad",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::OnTarget => "On target",
            Self::Near => "Close to the target",
            Self::Over => "Over target",
            Self::Nothing => "No snapshot",
            Self::Unknown => "Not known yet",
        }
    }
}

/// The whole page.
#[must_use]
pub fn render(report: &StatusReport) -> String {
    let standing = Standing::of(report);
    let mut html = Html::default();
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    html.raw("<meta http-equiv=\"refresh\" content=\"15\"><title>");
    html.text(standing.word()).raw(" · ").text(&report.cluster).raw(" · etcdr</title><style>");
    html.raw(include_str!("style.css")).raw("</style></head><body><main>");
    header(&mut html, report);
    headline(&mut html, report, standing);
    warnings(&mut html, report);
    sections::cards(&mut html, report);
    timeline(&mut html, report);
    html.raw("<div class=\"two\">");
    sections::members(&mut html, report);
    sections::schedules(&mut html, report);
    html.raw("</div>");
    footer(&mut html, report);
    html.raw("</main></body></html>");
    html.finish()
}

fn header(html: &mut Html, report: &StatusReport) {
    html.put("<header><h1>etcdr · ", &report.cluster, "</h1>");
    html.put("<span>agent ", &report.agent, "</span>");
    html.put("<span>version ", &report.version, "</span><span>started ");
    html.put("", relative(report.started_at, report.at), "</span></header>");
}

fn headline(html: &mut Html, report: &StatusReport, standing: Standing) {
    let newest = &report.newest;
    html.put("<section class=\"head ", standing.tone(), "\"><h2>Newest restorable snapshot</h2>");
    html.raw("<div class=\"row\"><p class=\"age\">");
    match newest.age_seconds {
        Some(age) => html.text(span(age)).raw(" ago"),
        None if standing == Standing::Unknown => html.raw("not known yet"),
        None => html.raw("none"),
    };
    html.put("</p><span class=\"pill\">", standing.word(), "</span><span class=\"soft\">");
    html.put("target ", span(newest.target_age_seconds), "</span></div>");
    if let Some(id) = newest.id {
        html.put("<p class=\"mono soft\">", id, "</p>");
    }
    html.raw("<div class=\"state\"><div class=\"row\">");
    if report.ready {
        html.raw(
            "<span class=\"good\"><span class=\"pill\">Ready</span></span>\
             <span>etcd and the store answer</span>",
        );
    } else {
        html.raw("<span class=\"bad\"><span class=\"pill\">Cannot save</span></span>");
    }
    if let Some(capture) = &report.capture {
        html.put("<span>capture going on since ", relative(capture.since, report.at), "</span>");
    } else if report.paused {
        html.raw("<span class=\"near\"><span class=\"pill\">Paused</span></span>");
    } else if let Some(next) = report.schedules.iter().filter_map(|one| one.next).min() {
        html.put("<span>next snapshot ", relative(next, report.at), "</span>");
    }
    html.raw("</div>");
    if !report.ready {
        html.raw("<ul>");
        for reason in &report.not_ready {
            html.put("<li>", reason, "</li>");
        }
        html.raw("</ul>");
    }
    html.raw("</div></section>");
}

fn warnings(html: &mut Html, report: &StatusReport) {
    if report.warnings.is_empty() {
        return;
    }
    html.put("<section><h2>Needs a look (", report.warnings.len(), ")</h2><ul class=\"warn\">");
    for one in &report.warnings {
        warning(html, one, report);
    }
    html.raw("</ul></section>");
}

fn warning(html: &mut Html, one: &StatusWarning, report: &StatusReport) {
    let (tone, word) = if one.urgent { ("bad", "Urgent") } else { ("near", "Note") };
    html.put("<li class=\"", tone, "\"><span class=\"pill\">").put("", word, "</span><strong>");
    html.put("", &one.text, "</strong> <span class=\"soft\">");
    match (report.at - one.since).num_seconds().max(0).unsigned_abs() {
        0..5 => html.raw("just now"),
        seconds => html.put("since ", span(seconds), ""),
    };
    if one.count > 1 {
        html.put(", seen ", one.count, " times");
    }
    html.raw("</span><p>");
    prose(html, &one.next);
    html.raw("</p></li>");
}

/// Text in which backquotes stand around commands.
fn prose(html: &mut Html, text: &str) {
    for (number, part) in text.split('`').enumerate() {
        match number % 2 {
            0 => html.text(part),
            _ => html.put("<code>", part, "</code>"),
        };
    }
}

fn timeline(html: &mut Html, report: &StatusReport) {
    html.raw("<section><h2>Timeline</h2>");
    if report.timeline.is_empty() {
        html.raw("<p class=\"soft\">Nothing was taken yet.</p></section>");
        return;
    }
    chart::draw(html, report);
    html.raw(
        "<details><summary>The last ones as a table</summary><div class=\"scroll\"><table>\
         <thead><tr>",
    );
    html.raw(
        "<th scope=\"col\">When</th><th scope=\"col\">What</th><th scope=\"col\">Schedule</th>",
    );
    html.raw(
        "<th scope=\"col\" class=\"num\">Stored</th><th scope=\"col\" class=\"num\">Took</th>\
         </tr></thead><tbody>",
    );
    for entry in report.timeline.iter().take(20) {
        html.put("<tr><td>", moment(entry.at), "</td><td>");
        html.text(chart::outcome(entry.outcome));
        if let Some(id) = entry.id {
            html.put(" <span class=\"mono soft\">", id, "</span>");
        }
        if let Some(error) = &entry.error {
            html.put(": ", error, "");
        }
        html.put("</td><td>", entry.schedule.as_deref().unwrap_or("–"), "</td><td class=\"num\">");
        html.text(entry.stored_size.map_or("–".to_owned(), format::bytes));
        let took = entry.seconds.map_or("–".to_owned(), |took| format!("{took:.1} s"));
        html.put("</td><td class=\"num\">", took, "</td></tr>");
    }
    html.raw("</tbody></table></div></details></section>");
}

fn footer(html: &mut Html, report: &StatusReport) {
    html.put("<footer><span>as of ", moment(report.at), ", anew every 15 s</span>");
    html.raw("<a href=\"/status.json\">status.json</a><a href=\"/metrics\">metrics</a>");
    html.raw("<a href=\"/readyz\">readyz</a><a href=\"/livez\">livez</a></footer>");
}
