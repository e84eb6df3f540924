//! The sections of the page that show one subject each.

use etcdr_schemas::report::{MemberStatus, StatusReport};

use super::format::{bytes, relative, span};
use super::html::Html;

/// What is stored, verified, pruned, and how near the quota is.
pub(super) fn cards(html: &mut Html, report: &StatusReport) {
    html.raw("<div class=\"cards\">");
    stored(html, report);
    verified(html, report);
    pruned(html, report);
    quota(html, report);
    html.raw("</div>");
}

fn card(html: &mut Html, title: &'static str, tone: &'static str, main: &str, more: &str) {
    html.put("<section><h2>", title, "</h2><b class=\"").put("", tone, "\">");
    if tone == "bad" {
        html.put("<span class=\"tone\">", main, "</span>");
    } else {
        html.text(main);
    }
    html.put("</b><p>", more, "</p></section>");
}

fn stored(html: &mut Html, report: &StatusReport) {
    match &report.stored {
        None => card(html, "Stored", "", "–", "not listed yet"),
        Some(stored) => {
            let noun = if stored.snapshots == 1 { "snapshot" } else { "snapshots" };
            let main = format!("{} {noun}", stored.snapshots);
            let more =
                format!("{}, listed {}", bytes(stored.bytes), relative(stored.at, report.at));
            card(html, "Stored", "", &main, &more);
        }
    }
}

fn verified(html: &mut Html, report: &StatusReport) {
    match &report.last_verify {
        None => card(html, "Last verify", "", "–", "none since the agent started"),
        Some(seen) => {
            let when = relative(seen.at, report.at);
            match &seen.failure {
                None => {
                    let more = format!("level {}, {when}", seen.level);
                    card(html, "Last verify", "good", "Sound", &more);
                }
                Some(failure) => {
                    let more = format!("{failure} ({when})");
                    card(html, "Last verify", "bad", "Damaged", &more);
                }
            }
        }
    }
}

fn pruned(html: &mut Html, report: &StatusReport) {
    let Some(seen) = &report.last_prune else {
        return card(html, "Last prune", "", "–", "none since the agent started");
    };
    let when = relative(seen.at, report.at);
    if let Some(error) = &seen.error {
        return card(html, "Last prune", "bad", "Failed", &format!("{error} ({when})"));
    }
    let main = format!("{} deleted", seen.deleted);
    let mut more = format!("{} kept, {when}", seen.kept);
    if seen.withheld > 0 {
        more = format!("{more}; the store keeps {} objects", seen.withheld);
    }
    card(html, "Last prune", "", &main, &more);
}

fn quota(html: &mut Html, report: &StatusReport) {
    let Some(seen) = &report.quota else {
        return card(html, "Quota", "", "–", "not known");
    };
    let main = match seen.seconds_left {
        None => "Not growing".to_owned(),
        Some(0) => "Reached".to_owned(),
        Some(left) => format!("{} left", span(left)),
    };
    let share = seen.size as f64 / seen.quota.max(1) as f64 * 100.0;
    html.put("<section><h2>Quota</h2><b>", main, "</b><p>");
    html.text(format!("{} of {}, {share:.0} %", bytes(seen.size), bytes(seen.quota)));
    html.put(
        "</p><meter aria-label=\"share of the quota\" max=\"100\" low=\"70\" high=\"85\" \
         optimum=\"0\" value=\"",
        format!("{share:.0}"),
        "\"></meter></section>",
    );
}

pub(super) fn members(html: &mut Html, report: &StatusReport) {
    html.raw("<section><h2>Members</h2>");
    if report.members.is_empty() {
        html.raw("<p class=\"soft\">etcd has not answered yet.</p></section>");
        return;
    }
    html.raw(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Member</th>\
         <th scope=\"col\">State</th>",
    );
    html.raw(
        "<th scope=\"col\" class=\"wide\">Version</th>\
         <th scope=\"col\" class=\"num\">Database</th>",
    );
    html.raw("<th scope=\"col\" class=\"num wide\">Revision</th></tr></thead><tbody>");
    for one in &report.members {
        member(html, one);
    }
    html.raw("</tbody></table></div></section>");
}

fn member(html: &mut Html, one: &MemberStatus) {
    let name = if one.name.is_empty() { "(not started)" } else { &one.name };
    html.put("<tr><td>", name, "");
    if one.own {
        html.raw(" <span class=\"soft\">(this one)</span>");
    }
    html.put("<br><span class=\"mono soft\">", one.id, "</span></td><td>");
    state(html, one);
    html.put("</td><td class=\"wide\">", one.version.as_deref().unwrap_or("–"), "</td>");
    html.put("<td class=\"num\">", one.db_size.map_or("–".to_owned(), bytes), "");
    if let Some(used) = one.db_size_in_use {
        html.put("<br><span class=\"soft\">", bytes(used), " in use</span>");
    }
    let revision = one.revision.map_or("–".to_owned(), |revision| revision.to_string());
    html.put("</td><td class=\"num wide\">", revision, "</td></tr>");
}

fn state(html: &mut Html, one: &MemberStatus) {
    if !one.answered {
        html.raw("<span class=\"bad\"><span class=\"tone\">No answer</span></span>");
    } else if one.dissents {
        html.raw(
            "<span class=\"bad\"><span class=\"tone\">Other data than the majority</span></span>",
        );
    } else if one.leader {
        html.raw("Leader");
    } else if one.learner {
        html.raw("Learner");
    } else {
        html.raw("Follower");
    }
    for error in one.errors.iter().take(3) {
        html.put("<br><span class=\"soft\">", error, "</span>");
    }
}

pub(super) fn schedules(html: &mut Html, report: &StatusReport) {
    html.raw("<section><h2>Schedules</h2>");
    if report.schedules.is_empty() {
        html.raw("<p class=\"soft\">None: snapshots are taken on demand only.</p></section>");
        return;
    }
    html.raw("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Schedule</th>");
    html.raw("<th scope=\"col\">Next</th><th scope=\"col\">Last taken</th></tr></thead><tbody>");
    for one in &report.schedules {
        html.put("<tr><td>", &one.name, "<br><span class=\"mono soft\">");
        html.put("", &one.cron, "</span></td><td>");
        match one.next {
            _ if one.paused => {
                html.raw("<span class=\"near\"><span class=\"tone\">Paused</span></span>")
            }
            None => html.raw("never"),
            Some(next) => html.put("", relative(next, report.at), "<br><span class=\"soft\">").put(
                "",
                next.format("%b %-d %H:%M UTC"),
                "</span>",
            ),
        };
        let last = one.last.map_or("–".to_owned(), |last| relative(last, report.at));
        html.put("</td><td>", last, "</td></tr>");
    }
    html.raw("</tbody></table></div></section>");
}
