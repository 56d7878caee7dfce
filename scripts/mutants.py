#!/usr/bin/env python3
"""Takes the rules of docs/ownership.md, and of spreading (docs/services.md), out of the code, one at a time, and sees
that a test fails.

For each mutant: replaces the text in a temporary copy of the tree, runs the core's tests and, if those all pass, the
simulation's. Prints one row of a Markdown table for each: the rule, what was taken out, and the first tests that failed,
or SURVIVED. The tree itself is never touched. Needs python3 and cargo, nothing else.

    scripts/mutants.py                 all of them
    scripts/mutants.py 6 07-witness    those of rule 6, and one by its name
    scripts/mutants.py --list          what there is
    scripts/mutants.py --check         only whether each text to replace is there exactly once
    scripts/mutants.py --jobs 2        two at a time, each with a build directory of its own
    scripts/mutants.py --build DIR     keep the build directories under DIR, for the next time
    scripts/mutants.py --proof         first scenarios, then random schedules, then the model, then the core's tests; the
                                       table says which of them, and with which seed
    scripts/mutants.py --proof --write and puts each row into the table in docs/robustness.md at once, so that a run can
                                       be interrupted and go on with the mutants that are left

Ends with 0 if all were killed, 1 if one survived or does not compile, 2 if a text to replace is not there exactly once.
"""

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# Without optimisation: these tests are quick, and compiling them is not.
QUICKLY = ["--config", "profile.dev.package.mainstay-core.opt-level=0"]
CORE = ["cargo", "test", "--quiet", *QUICKLY, "-p", "mainstay-core"]
SIMULATION = ["cargo", "test", "--quiet", "-p", "mainstay-lab", "--test", "sim_rules"]
SCHEDULES = ["cargo", "test", "--quiet", "-p", "mainstay-lab", "--test", "sim", "no_schedule"]
MODEL = ["cargo", "test", "--quiet", "-p", "mainstay-lab", "--test", "model", "no_interleaving"]
# What a proof leaves to chance and to search: enough to find what is found at all, and no more.
PROOF_SETTINGS = {"MAINSTAY_SIM_SEEDS": "2000", "MAINSTAY_SIM_SPREAD_SEEDS": "200", "MAINSTAY_MODEL": "quick"}
# Of the laboratory, what those tests do not need, and what it costs to compile for each mutant: most of the time.
LABORATORY = "crates/lab"
NOT_NEEDED = re.compile(r"^(pub )?mod (?!model;|sim;)\w+;$|^#\[expect\(.*?^\)\]$", re.M | re.S)
TESTED_ONLY = re.compile(r"^mainstay-(agent|kube)\.workspace = true\n", re.M)
RECORD = ROOT / "docs" / "robustness.md"
BEGIN, END = "<!-- mutants: written by scripts/mutants.py --proof --write -->", "<!-- mutants: end -->"
SURVIVED = "**SURVIVED**"
# A mutant may wait for ever or take all memory; that kills it, too.
TIME_LIMIT_SECONDS = int(os.environ.get("MUTANTS_TIME_LIMIT", "900"))

OWNERSHIP = "crates/core/src/ownership.rs"
DUTIES = "crates/core/src/ownership/duties.rs"
FOLLOWING = "crates/core/src/ownership/following.rs"
FRAMES = "crates/core/src/ownership/frames.rs"
TRANSITIONS = "crates/core/src/ownership/transitions.rs"
VIPS = "crates/core/src/ownership/vips.rs"
CONFLICT = "crates/core/src/conflict.rs"
WATCHER = "crates/core/src/watcher.rs"
LEASE = "crates/core/src/authority/lease.rs"
ANNOTATIONS = "crates/core/src/authority/annotations.rs"
SNAPSHOT = "crates/core/src/snapshot.rs"
SETTINGS = "crates/core/src/settings.rs"
ANNOUNCE = "crates/dataplane/src/announce.rs"
SEATS = "crates/core/src/seats.rs"
SEAT = "crates/core/src/ownership/seat.rs"
SPREAD = "crates/core/src/spread.rs"
INTENT = "crates/core/src/intent.rs"
BALANCE = "crates/core/src/balance.rs"


class Mutant(NamedTuple):
    """One rule taken out: `name` begins with the rule's number; `edits` are (file, old text, new text)."""

    name: str
    what: str
    edits: list


def mutant(name, what, *edits):
    """`edits` as file, old, new, file, old, new, ..."""
    return Mutant(name, what, [edits[i : i + 3] for i in range(0, len(edits), 3)])


MUTANTS = [
    # --- 1: hold through silence
    mutant("01-hold", "the holder lets go when its renew deadline has passed, as other electors do", TRANSITIONS,
           "        self.release_strict_singleton(now, holding, out);",
           "        if !self.lease.is_fresh(now) {\n"
           "            return self.withdraw(now, YieldReason::AuthorityLoss, out);\n"
           "        }\n"
           "        self.release_strict_singleton(now, holding, out);"),
    mutant("01-detached", "a holder out of reach goes on saying that it is confirmed", DUTIES,
           "if fresh { Tenure::Confirmed } else { Tenure::Detached }",
           "if fresh { Tenure::Confirmed } else { Tenure::Confirmed }"),
    mutant("01-strict-lets-go", "a strict singleton holds on as everybody does", TRANSITIONS,
           "is_some_and(|since| now.since(since) >= patience)",
           "is_some_and(|since| now.since(since) >= patience * 1000)"),
    mutant("01-strict-lifetime", "a strict singleton's address may outlive its right to it", SETTINGS,
           "OnAuthorityLoss::ReleaseAfter(patience) => lifetime.min(patience),",
           "OnAuthorityLoss::ReleaseAfter(_) => lifetime,"),
    mutant("01-strict-no-succession", "rule 8 also for strict singletons", FOLLOWING,
           "out && !self.is_strict() && self.may_hold(now)", "out && self.may_hold(now)"),
    mutant("01-strict-no-evidence", "rule 7 also for strict singletons", FOLLOWING,
           "!self.is_strict() && self.lease.holder_is_mainstay()", "self.lease.holder_is_mainstay()"),
    mutant("01-strict-no-resumption", "rule 9 also for strict singletons", TRANSITIONS,
           "if self.is_strict() && !self.lease.is_fresh(now) && self.lease.out_since().is_some() {",
           "if self.is_strict() && false {"),
    # --- 2: no grant, no taking
    mutant("02-no-grant", "a silent VIP is taken without a grant also while the authority is in reach", FOLLOWING,
           "let out = self.lease.out_since().is_some();\n        // Whether", "let out = true;\n        // Whether"),
    mutant("02-stale-grant", "a grant that is only remembered is a ground for taking", TRANSITIONS,
           "Standing::Granted { epoch } if self.lease.is_fresh(now) => {\n                if self.may_hold",
           "Standing::Granted { epoch } => {\n                if self.may_hold"),
    mutant("02-link", "campaigns while its link is down", TRANSITIONS,
           "!self.stopping && self.link_up() && self.stay_out_until", "!self.stopping && self.stay_out_until"),
    mutant("02-alone", "campaigns at once although nobody on the link answers it", FOLLOWING,
           "        if self.is_alone(now) {\n", "        if false {\n"),
    mutant("02-unfit", "campaigns at once although it could not serve", FOLLOWING,
           "} else if self.health == Some(Health::Unhealthy) {", "} else if false {"),
    mutant("02-dark", "never campaigns while it could not serve, however dark the claim is", FOLLOWING,
           "self.watcher.long_silence().max(self.evidence_patience(now)) * 2\n", "Duration::MAX / 4\n"),
    # --- 3: granted, take at once
    mutant("03-assigned-first", "announces without waiting for the kernel's word", DUTIES,
           "let may = self.address == Address::Present && self.link_up();", "let may = self.link_up();", DUTIES,
           "if self.address != Address::Present || !self.link_up() {", "if !self.link_up() {"),
    mutant("03-burst", "announces once instead of six times", DUTIES,
           "(None, Some(_)) => self.order_announcement(AnnouncePace::Burst, out)",
           "(None, Some(_)) => self.order_announcement(AnnouncePace::Steady, out)"),
    mutant("03-at-once", "waits for long silence before it takes what it was granted", TRANSITIONS,
           "                if self.may_hold(now) {",
           "                if self.may_hold(now) && self.watcher.silence(now, self.watcher.long_silence()).is_ok() {"),
    mutant("03-both-forms", "announces as request only", ANNOUNCE,
           "let forms = if vip.is_ipv6() { taken.map(|_| &[Form::Reply][..]) } else { taken };",
           "let forms = if vip.is_ipv6() { taken.map(|_| &[Form::Reply][..]) } else { taken.map(|forms| &forms[..1]) };"),
    # --- 4: denied by a later grant
    mutant("04-denied", "a denied holder goes on", TRANSITIONS,
           "if epoch > holding.basis && holder != self.settings.node.as_str() && !self.is_another_lease()",
           "if epoch > holding.basis && holder == \"nobody\""),
    mutant("04-wait", "does not wait for its successor", OWNERSHIP,
           "const SUCCESSOR_WAIT: Duration = Duration::from_millis(500);",
           "const SUCCESSOR_WAIT: Duration = Duration::ZERO;"),
    mutant("04-heard", "does not go when its successor is heard", TRANSITIONS,
           "        if self.successor_heard(yielding) {", "        if false && self.successor_heard(yielding) {"),
    mutant("04-lower-epoch", "a lower epoch denies, too", LEASE,
           "record.uid == held.uid && record.transitions > held.epoch;", "record.uid == held.uid;"),
    mutant("04-other-uid", "another object denies, too", LEASE,
           "let later = record.uid == held.uid && record.transitions", "let later = record.transitions"),
    mutant("04-contest", "a reset record is not contested", LEASE,
           "(_, true) => Some((self.acquire_due, Action::Acquire)),", "(_, true) => None,"),
    mutant("04-restart-uid", "another object denies, too, after a restart", TRANSITIONS,
           "&& !self.is_another_lease() =>", "=>"),
    # --- 5: conflict
    mutant("05-defend", "does not answer a lower mark", FRAMES,
           "        self.notice_false_takeover(now, speaker, out);\n        self.defend(now, out);",
           "        self.notice_false_takeover(now, speaker, out);"),
    mutant("05-defend-twice", "answers once, and not again after 1.1 s", ANNOUNCE,
           "pub const DEFENCE_SETTLES: Duration = Duration::from_millis(1_100);",
           "pub const DEFENCE_SETTLES: Duration = Duration::from_millis(0);"),
    mutant("05-yield", "does not yield to a higher mark", CONFLICT,
           "Ordering::Less => Verdict::Yield,", "Ordering::Less => Verdict::Defend,"),
    mutant("05-order-tenure", "the epoch comes before the tenure", CONFLICT,
           "a.tenure.cmp(&b.tenure).then(a.epoch.cmp(&b.epoch))",
           "a.epoch.cmp(&b.epoch).then(a.tenure.cmp(&b.tenure))"),
    mutant("05-order-rank", "of equals, nobody is better", CONFLICT,
           ".then(rank(a).cmp(&rank(b)))", ""),
    mutant("05-verify", "a confirmed holder does not ask about a higher epoch", CONFLICT,
           "if ours.tenure == Tenure::Confirmed && theirs.epoch > ours.epoch => {",
           "if false && theirs.epoch > ours.epoch => {"),
    mutant("05-verify-lower", "a confirmed holder does not ask about a confirmed one of an earlier epoch", CONFLICT,
           "if both_confirmed(ours, theirs) && theirs.epoch < ours.epoch =>", "if false && both_confirmed(ours, theirs) =>"),
    mutant("05-unverified-waits", "yields to an earlier grant at once when it cannot ask", FRAMES,
           "self.lease.out_since().is_some() && !earlier {", "self.lease.out_since().is_some() {"),
    mutant("05-verify-deadline", "asks, and waits for the answer for ever", DUTIES,
           "} else if now >= until {", "} else if now.since(until) >= Duration::from_secs(400) {"),
    mutant("05-one-window", "the earlier of two grants asks as long as the later", OWNERSHIP,
           "const WINDOW_OF_EARLIER: Duration = Duration::from_millis(400);",
           "const WINDOW_OF_EARLIER: Duration = Duration::from_millis(600);"),
    mutant("05-verify-defends", "does not defend while it asks", FRAMES,
           "if self.invited_at_epoch.is_none() {\n            self.defend(now, out);",
           "if false {\n            self.defend(now, out);"),
    mutant("05-verify-out-of-reach", "asks although renewals already go unanswered", FRAMES,
           "if verdict == Verdict::Verify && self.lease.out_since().is_some() && !earlier {", "if false {"),
    mutant("05-member", "yields to a member's misconfigured kernel", CONFLICT,
           "Speaker::Member => Verdict::Misconfigured,", "Speaker::Member => Verdict::Yield,"),
    mutant("05-member-known", "does not know the members by their hardware addresses", FRAMES,
           "if listed || self.claimed_lately(now, frame.mac) {", "if self.claimed_lately(now, frame.mac) {"),
    mutant("05-foreign-yields", "a detached holder never yields to a foreign elector's node", FRAMES,
           "Some(at) if now.since(at) >= ROGUE_DEFENCE => {", "Some(_) if false => {"),
    mutant("05-foreign-defends", "a detached holder yields to a foreign elector's first frame", FRAMES,
           "            None => self.defend(now, out),\n            Some(at) if now.since(at) >= ROGUE_DEFENCE => {", "            _ => {"),
    mutant("05-rogue", "yields to a rogue", CONFLICT,
           "Speaker::Unknown => Verdict::Rogue,", "Speaker::Unknown => Verdict::Yield,"),
    mutant("05-rogue-defends", "does not answer a rogue", FRAMES,
           "Verdict::Rogue => self.defend_within(now, ROGUE_DEFENCE, out),", "Verdict::Rogue => {}"),
    mutant("05-rogue-rate", "answers a rogue however often it speaks", FRAMES,
           "Verdict::Rogue => self.defend_within(now, ROGUE_DEFENCE, out),",
           "Verdict::Rogue => self.defend(now, out),"),
    mutant("05-rival-asks", "a holder that may have a rival does not ask for it", FOLLOWING,
           "            State::Holding(_) if self.may_have_rival => Pace::Rival,\n", ""),
    mutant("05-rival-question", "a holder's question is not judged", FRAMES,
           "self.settle_conflict(now, frame, (frame.target, Speaker::Marked(mark)), out);", "let _ = mark;"),
    mutant("05-rival-shows", "a holder that may have a rival keeps its mark to itself", FRAMES,
           "        if self.may_have_rival {\n", "        if false {\n"),
    mutant("05-rival-forced", "looks for no rival after it took the claim from one it did not see yield", DUTIES,
           "|| self.forced_until.is_some_and(|until| now < until)", ""),
    # --- 6: the incumbent's grace
    mutant("06-first-read", "expiry counts on through an outage that was noticed", LEASE,
           "if broken || self.out_since.is_some() {", "if broken {"),
    mutant("06-unnoticed", "expiry counts on through a silence that nobody noticed", LEASE,
           "if broken || self.out_since.is_some() {", "if self.out_since.is_some() {"),
    mutant("06-current", "acts on expiry although the last contact is old", LEASE,
           "self.in_reach() && self.contact.is_some_and(|contact| now.since(contact) <= self.longest_gap())",
           "self.in_reach()"),
    mutant("06-silent-watch", "a silent watch is not checked by a read", LEASE,
           "self.timing.retry_period * 5 / 2", "self.timing.duration * 100"),
    mutant("06-grace", "no grace for a holder that wears the VIP", FOLLOWING,
           "now >= expired_at + self.grace() + self.handicap(now)", "now >= expired_at + self.handicap(now)"),
    mutant("06-grace-lifetime", "grace shorter than the VIP's lifetime in the kernel", FOLLOWING,
           "self.settings.lease.duration.max(self.settings.lifetime)", "self.settings.lease.duration"),
    mutant("06-grace-ends", "grace for ever", FOLLOWING,
           "(silent || grace_over || failing)", "(silent || failing || (grace_over && false))"),
    mutant("06-silent", "grace also for a holder that fell silent", FOLLOWING,
           "(silent || grace_over || failing)", "((silent && false) || grace_over || failing)"),
    mutant("06-service", "grace also while what the VIP serves fails", FOLLOWING,
           "(silent || grace_over || failing)", "(silent || grace_over || (failing && false))"),
    mutant("06-deleted", "a deleted Lease never expires", LEASE,
           "Known::Absent => Some(self.observed_at.max(self.chain_since)),", "Known::Absent => None,"),
    mutant("06-attempts", "a holder out of reach may wait for a whole lease between attempts", LEASE,
           "(timing.duration / 3).saturating_sub(request_deadline(timing))", "timing.duration"),
    # --- 7: takeover on evidence
    mutant("07-evidence", "a dead holder is waited for until expiry", FOLLOWING,
           "self.expired(now).or_else(|| self.evidence(now))", "self.expired(now)"),
    mutant("07-multiplier", "one missed answer is death", WATCHER,
           "{ self.detection.multiplier } else { 10 }", "{ 1 } else { 10 }"),
    mutant("07-two-probes", "silence counts although one probe was sent", WATCHER,
           "if before.is_none() || last", "if last.is_none() || last"),
    mutant("07-broadcast", "silence counts although nobody else was asked", WATCHER,
           "if before.is_none() || last.is_none_or(|(_, all)| !all) {", "if before.is_none() || last.is_none() {"),
    mutant("07-settled", "a probe counts before it could be answered", WATCHER,
           "move |(at, _)| now.since(*at) >= wait", "move |(at, _)| now.since(*at) >= wait / 1_000"),
    mutant("07-path", "the silence of one that was never heard counts", WATCHER,
           "            return Err(Lack::Path);\n", ""),
    mutant("07-witness-asked", "a survivor without a neighbour does not ask the authority over the link", FOLLOWING,
           "None if self.wants_witness(now) => Campaign::Ask,\n", ""),
    mutant("07-witness-renews", "robs a holder that renews, on the authority's word alone", FOLLOWING,
           "            && !self.lease.renewed_since(silent_since)\n", ""),
    mutant("07-witness-alone", "asks the authority although somebody else could be the witness", FOLLOWING,
           "member.is_some_and(|member| self.watcher.neighbours().all(|at| member.addresses.contains(&at)))", "member.is_some()"),
    mutant("07-witness-way", "takes an answer that came another way for a witness", OWNERSHIP,
           "own.contains(&local) && !own.contains(&remote)", "!own.contains(&remote)"),
    mutant("07-witness", "silence counts although nobody else answers", WATCHER,
           "            return Err(Lack::Witness);\n", ""),
    mutant("07-witness-open", "who was heard before a question was open is a witness", WATCHER,
           "self.open_question().is_some_and(|open| at > open)", "true"),
    mutant("07-asked-again", "what was asked while nobody was heard counts once somebody is", WATCHER,
           "self.settled(now).next().map(|(at, _)| at) > self.witnessed_at", "true"),
    mutant("07-bystanders", "who asks seldom waits for a witness until members are asked anyway", WATCHER,
           "Pace::Bystander => self.open_question().map(|at| at + BYSTANDER_INTERVAL / 2),", "Pace::Bystander => None,"),
    mutant("07-own-link", "what was heard before our link changed still counts", OWNERSHIP,
           "self.watcher.restart(now);\n        if link == Link::Up", "if link == Link::Up"),
    mutant("07-never-seen", "a new holder that is never seen is waited for until expiry", WATCHER,
           "{ self.detection.multiplier } else { 10 }", "{ self.detection.multiplier } else { 10_000 }"),
    mutant("07-mainstay-only", "evidence also against another elector's holder", FOLLOWING,
           " && self.lease.holder_is_mainstay() &&", " &&"),
    mutant("07-grant-epoch", "the annotation may speak of an earlier epoch", ANNOTATIONS,
           " && grant.epoch == record.transitions)", ")"),
    mutant("07-grant-holder", "the annotation may speak of another holder", ANNOTATIONS,
           "record.holder.as_ref() == Some(&grant.holder) && grant", "grant"),
    mutant("07-damping", "false takeovers change nothing", WATCHER,
           "1_u32.checked_shl(doublings).unwrap_or(u32::MAX)", "1_u32.max(doublings.min(1))"),
    mutant("07-damping-shared", "false takeovers are not written into the Lease", FOLLOWING,
           "false_takeovers: false_takeovers.filter(|count| *count != written),", 
           "false_takeovers: false_takeovers.filter(|count| *count != written && false),"),
    mutant("07-damping-limit", "the multiplier grows past the lease duration", WATCHER,
           ".saturating_mul(factor).min(longest)", ".saturating_mul(factor).min(longest * 1000)"),
    mutant("07-damping-halves", "false takeovers are never forgotten", LEASE, "written >> halvings", 
           "written >> (halvings * 0)"),
    mutant("07-three-probers", "everybody probes", FOLLOWING, "is_among_first(PROBERS,", "is_among_first(PROBERS * 1000,"),
    mutant("07-members-kernel", "a member's kernel that answers by mistake counts as the holder alive", FRAMES,
           "            Speaker::Member => {\n", "            Speaker::Member if true => true,\n            Speaker::Member => {\n"),
    # --- 8: succession without an authority
    mutant("08-succession", "nobody succeeds while the authority is out of reach", FOLLOWING,
           "let out = self.lease.out_since().is_some();\n        // Whether", "let out = false;\n        // Whether"),
    mutant("08-silence", "no silence is waited for", FOLLOWING,
           "self.may_hold(now) && self.is_silent_enough(now)", "self.may_hold(now)"),
    mutant("08-guards", "ten intervals of silence suffice, without rule 7's guards", FOLLOWING,
           "self.watcher.evidence(now, self.watcher.long_silence()).is_ok()\n            || (standalone",
           "self.watcher.silence(now, self.watcher.long_silence()).is_ok()\n            || (standalone"),
    mutant("08-rank", "all wait equally long", FOLLOWING,
           "RANK_STEP.saturating_mul(rank) +", "RANK_STEP.saturating_mul(rank * 0) +"),
    mutant("08-defer", "a better-ranked node's probe changes nothing", FOLLOWING,
           "if better && self.succession", "if better && false && self.succession"),
    mutant("08-probes", "takes without its three probes", FOLLOWING, "if asked == 3 {", "if asked == 0 {"),
    mutant("08-unheard", "a holder that was never heard is never succeeded, though a witness answers", FOLLOWING,
           "            || (self.watcher.is_witnessed() && self.is_silent_for(now, unheard))\n", ""),
    mutant("08-first-node", "the first node of a cluster waits for a holder that there never was", FOLLOWING,
           "let unheard = if self.is_first(now) {", "let unheard = if false {"),
    mutant("08-stranger", "the first node takes a VIP for which an unknown kernel answers", FOLLOWING,
           "self.knows_nobody() && !answered", "self.knows_nobody()"),
    mutant("08-known", "a holder that is known by the Lease alone is not waited for", FOLLOWING,
           "let unheard = if self.is_first(now) {", "let unheard = if true {"),
    mutant("08-no-witness", "nobody succeeds where no witness answers", FOLLOWING,
           "            || self.is_silent_for(now, lease * 2)\n", ""),
    mutant("08-asks-for-grant", "whoever wears the VIP does not ask for the grant", FOLLOWING,
           "State::Probing(_) | State::Holding(_) if self.contests(now) =>",
           "State::Probing(_) | State::Holding(_) if false =>"),
    # --- 9: start, and resumption
    mutant("09-found", "a VIP found at a start is not kept", OWNERSHIP,
           "let worn = !found.addresses.is_empty();", "let worn = found.addresses.len() > 1000;"),
    mutant("09-unannounced", "announces what it found before it knows", DUTIES,
           "            _ => return None,\n        };\n        Some(Mark",
           "            State::Probing(probing) => (probing.before, probing.basis),\n"
           "            _ => return None,\n        };\n        Some(Mark"),
    mutant("09-both-wait", "of two that were restarted, each waits for the other", FOLLOWING,
           "|| (named_nobody && now.since(since) >= PROBING_LIMIT)", ""),
    mutant("09-freeze", "a freeze is not noticed", TRANSITIONS,
           "if gap > self.settings.lifetime / 3 {", "if gap > self.settings.lifetime * 1000 {"),
    mutant("09-outranked", "goes on although a better mark was heard meanwhile", TRANSITIONS,
           "if let Some(reason) = self.outranked_while_probing(probing) {",
           "if let Some(reason) = self.outranked_while_probing(probing).filter(|_| false) {"),
    mutant("09-denied", "goes on although another was granted it meanwhile", TRANSITIONS,
           "                    if holder != self.settings.node.as_str()\n                        && epoch > probing.basis",
           "                    if holder == \"nobody\"\n                        && epoch > probing.basis"),
    mutant("09-other-boot", "a snapshot of another boot is believed", SNAPSHOT,
           "if snapshot.boot_id != boot_id {", "if snapshot.boot_id.is_empty() {"),
    # --- 10: the kernel's dead-man switch
    mutant("10-lifetime", "the address never expires", DUTIES,
           "(self.settings.claim.clone(), self.settings.lifetime);", "(self.settings.claim.clone(), self.settings.lifetime * 10_000);"),
    mutant("10-refresh", "refreshed too late", DUTIES,
           "self.refresh_due = now + self.settings.lifetime / 3;", "self.refresh_due = now + self.settings.lifetime * 2;"),
    mutant("10-put-back", "a deleted address is not put back at once", DUTIES,
           "if count < RESTORES_AT_ONCE { now } else", "if count > RESTORES_AT_ONCE { now } else"),
    mutant("10-announced-deleted", "goes on announcing an address that was deleted, and not anew when it is back", DUTIES,
           "        if self.address == Address::Present && self.nothing_is_left() {\n            self.address = Address::Ordered;\n        }\n", ""),
    mutant("10-expired", "an expired address is put back as a deleted one is", DUTIES, "if !expired {", "if true {"),
    # --- 11: hand over
    mutant("11-make-before-break", "withdraws, then releases", TRANSITIONS,
           "        if self.is_strict() {\n            self.withdraw(now, YieldReason::HandOver, out);",
           "        if true {\n            self.withdraw(now, YieldReason::HandOver, out);"),
    mutant("11-strict", "a strict singleton makes before it breaks", TRANSITIONS,
           "        if self.is_strict() {\n            self.withdraw(now, YieldReason::HandOver, out);",
           "        if false {\n            self.withdraw(now, YieldReason::HandOver, out);"),
    mutant("11-release", "releases with the duration of a live lease", LEASE, "duration_seconds: 1,",
           "duration_seconds: whole_seconds(self.timing.duration),"),
    mutant("11-company", "hands over though there is nobody to take it", TRANSITIONS,
           "} else if self.has_company(now) && self.lease.in_reach()", "} else if self.lease.in_reach()"),
    mutant("11-other-elector", "keeps the grant though an elector that lists nobody may wait for it", TRANSITIONS,
           "let unlisted = self.lease.knows_other_elector();", "let unlisted = false;"),
    mutant("11-in-reach", "hands over though the authority is out of reach", TRANSITIONS,
           "self.has_company(now) && self.lease.in_reach() && self.link_up() && self.lease.is_fresh(now)",
           "self.has_company(now) && self.link_up()"),
    mutant("11-restart-grace", "the VIP that stays has its usual lifetime", TRANSITIONS,
           "lifetime: self.settings.restart_grace,", "lifetime: self.settings.lifetime,"),
    # --- 12: invite
    mutant("12-invite", "does not invite", FOLLOWING,
           "if holding && unfit && self.members.len() > 1 {", "if holding && unfit && self.members.len() > 1000 {"),
    mutant("12-answer", "an invitation is not answered", FOLLOWING,
           "if self.invitation_for_us(now) {", "if false && self.invitation_for_us(now) {"),
    mutant("12-healthy-only", "the unhealthy answer an invitation", FOLLOWING,
           "invited && self.health == Some(Health::Healthy) && self", "invited && self"),
    mutant("12-holds-on", "an unhealthy holder releases", FOLLOWING,
           "            _ => GrantWish::Keep,",
           "            _ if self.health == Some(Health::Unhealthy) => GrantWish::Release,\n            _ => GrantWish::Keep,"),
    mutant("12-stay-out", "who handed over comes back at once", TRANSITIONS,
           "if reason == YieldReason::HandOver {\n            self.stay_out_until", 
           "if false {\n            self.stay_out_until"),
    mutant("11-named-successor", "a successor of an earlier epoch is not heard, though the Lease names it", TRANSITIONS,
           "(claimant.mark.epoch > yielding.epoch || self.is_named(claimant, yielding))",
           "(claimant.mark.epoch > yielding.epoch || (false && self.is_named(claimant, yielding)))"),
    mutant("12-no-stop", "who invited stops when nobody is heard to have taken the claim", TRANSITIONS,
           "if self.stopping && yielding.reason == YieldReason::HandOver && !succeeded {",
           "if yielding.reason == YieldReason::HandOver && !succeeded {"),
    # --- 13: link
    mutant("13-silent", "announces on while the link is down", DUTIES,
           "let may = self.address == Address::Present && self.link_up();", "let may = self.address == Address::Present;"),
    mutant("13-resign", "does not resign however long the link is down", TRANSITIONS,
           "down_for >= LINK_PATIENCE)", "down_for >= LINK_PATIENCE * 1000)"),
    mutant("13-patience", "resigns at once when the link goes down", TRANSITIONS,
           "down_for >= LINK_PATIENCE)", "down_for >= Duration::ZERO)"),
    mutant("13-in-reach", "resigns also while the authority is out of reach", TRANSITIONS,
           "if self.lease.in_reach() && down_for", "if down_for"),
    mutant("13-link-up", "announces at once when the link is back", OWNERSHIP,
           "        if link == Link::Up {\n            self.reconsider(now);\n        }\n", ""),
    # --- 14
    mutant("14-kept", "withdraws at once what the answer names no more", VIPS,
           "now.since(*at) >= kept;", "now.since(*at) >= kept * 0;"),
    mutant("14-dropped", "wears for ever what the answer names no more", VIPS,
           "now.since(*at) >= kept;", "now.since(*at) >= kept * 1_000;"),
    mutant("14-adopted", "a follower asks for the new address at once", VIPS,
           "Some(left) => now.since(*left) < ADOPTED_AFTER,", "Some(_) => false,"),
    mutant("14-path", "takes the silence of an address for death that was never heard from the holder", WATCHER,
           "let is_worn = self.worn.is_none_or(|worn| worn == Worn::Heard);", "let is_worn = true;"),
    mutant("14-told", "does not say on the Lease which addresses it wears", FOLLOWING,
           "addresses: self.told_addresses(now),", "addresses: None,"),
    mutant("14-heeded", "a node that knows other addresses does not ask for those that the holder tells", VIPS,
           "let follows = self.state == State::Released;", "let follows = false;"),
    mutant("14-remembered", "a restart in an outage forgets what the holder told", VIPS,
           "Standing::Unknown => &self.addresses.remembered,", "Standing::Unknown => &[],"),
    mutant("14-hearing", "takes for new what is heard while the Lease says that it is about to go", VIPS,
           "        !told.is_empty() && !told.contains(&vip) && !late\n", "        false\n"),
    # --- the Lease
    mutant("lease-reply-lost", "a write whose reply was lost is not read back", LEASE,
           "            self.read_back = true;\n            self.unresolved", "            self.unresolved"),
    mutant("lease-instance", "two processes with one node name are one", LEASE,
           "annotations::grant(record) == Some(self.grant_of(record.transitions))",
           "annotations::grant(record).is_some_and(|grant| grant.holder == self.node.as_str())"),
    # --- seats (docs/services.md, "Spreading")
    mutant("seat-make-before-break", "an address that is recorded elsewhere goes at once", SEATS,
           "view.holds && elsewhere(vip) && !self.knows(**vip)", "false"),
    mutant("seat-heard", "an address that is recorded elsewhere stays though its new wearer is heard", SEATS,
           "view.holds && elsewhere(vip) && !self.knows(**vip)", "view.holds && elsewhere(vip)"),
    mutant("seat-rivals", "two that know different records both go on", SEATS,
           "self.has_it |= lasts && (is_newer || (!is_older && is_first));", "let _ = (lasts, is_newer, is_older, is_first);"),
    mutant("seat-rivals-both", "who leaves an address has not heard the other since either was cut off", SEATS,
           "let lasts = self.last.since(self.since) >= RIVALRY;", "let lasts = now >= self.since;"),
    mutant("seat-rivals-cut-off", "also one that reads the record leaves it to another", SEATS,
           "self.has_it &= view.holds && view.cut_off;", "self.has_it &= view.holds;"),
    mutant("seat-empty", "another node's empty seat is taken as well", SEAT,
           "home.is_some_and(|home| home != self.settings.node) && !self.services.are_there()", "home.is_none() && false"),
    mutant("seat-given-back", "an inherited seat is kept when it is empty", SEAT,
           "empty && self.lease.in_reach() && self.lease.is_fresh(now)", "false && empty"),
    mutant("seat-given-back-full", "an inherited seat is given back while addresses are placed there", SEAT,
           "let empty = self.is_empty_seat_of_another() && self.services.are_said();",
           "let empty = self.settings.claim.home().is_some_and(|home| home != self.settings.node);"),
    mutant("seat-withdrawn", "one seat takes an address off the interface that another has there", SEATS,
           "vips.retain(|vip| !others().any(|(_, seated)| seated.machine.holds() && seated.has(*vip)));",
           "let _ = others;"),
    mutant("seat-bystanders", "only the three that follow it ask for a seat", FOLLOWING,
           "State::Released => Pace::Bystander,", "State::Released => Pace::Off,"),
    mutant("seat-members-heard", "a member that was just heard is asked all the same", WATCHER,
           "neighbour.heard.map_or(asked, |heard| heard.max(asked))", "asked"),
    mutant("seat-members-once", "each seat asks each member for itself", SEATS,
           "others.for_each(|(_, seated)| seated.machine.was_asked_beside(now, address));",
           "drop((others, now, address));"),
    mutant("seat-memory", "a restart forgets what it knew of the seats", SEATS,
           "(seat.beacon, seat.memory.clone(), worn)", "(seat.beacon, None, worn)"),
    mutant("seat-found", "a restart forgets what it wears of the seats", SEATS,
           "let worn = seat.found.iter().copied().collect();", "let worn = Vec::new();"),
    mutant("seat-unfit", "a node that may hold no Services takes others' seats", SEATS,
           "self.give_but(&own, input, turn);\n            }\n            Input::Tick", "let _ = own;\n            }\n            Input::Tick"),
    # --- spreading
    mutant("spread-record", "what is on record counts for nothing", SPREAD,
           "Some((seat, demand.candidate(self.holder(seat)?)?))",
           "Some((seat, demand.candidate(self.holder(seat)?)?)).filter(|_| false)"),
    mutant("spread-at-once", "what a seat's holder could not hold stays there", SPREAD,
           "if demand.candidates.iter().any(|one| self.is_target(&one.node)) {",
           "if recorded.is_none() && demand.candidates.iter().any(|one| self.is_target(&one.node)) {"),
    mutant("spread-unseen", "a seat of which nobody knows the holder is emptied", SPREAD,
           "if recorded.is_some_and(|seat| self.is_unseen(seat)) {",
           "if recorded.is_some_and(|seat| self.is_unseen(seat)) && false {"),
    mutant("spread-heir", "what nobody could hold keeps an inherited seat from its home", SPREAD,
           "recorded.map(|seat| self.heir(seat).unwrap_or(seat))", "recorded"),
    mutant("spread-drain", "an inherited seat is not emptied", SPREAD,
           "held.next().filter(|(_, by)| !self.has_as_good(demand, by))", "held.next()"),
    mutant("spread-even", "an uneven load is not evened out", SPREAD,
           "plan.rebalance(&mut self.rebalancing)", "plan.rebalance(&mut self.rebalancing).filter(|_| false)"),
    mutant("spread-rate", "slow moves follow each other at once", SPREAD,
           "        if now < due {\n", "        if false {\n"),
    mutant("spread-given-up", "a move that never comes on record is waited for for ever", SPREAD,
           "self.moving.take_if(|_| late)", "self.moving.take_if(|_| late && false)"),
    mutant("incumbent-electors", "what kube-vip lets go of is taken before its other electors had a turn", SPREAD,
           "_ if unchanged >= term + ELECTORS_FIRST => Incumbency::Over,", "_ if unchanged >= term => Incumbency::Over,"),
    mutant("incumbent-term", "a Lease that kube-vip renews is not waited for", SPREAD,
           "record.holder.as_ref().map_or(Duration::ZERO, |_| duration(record))", "Duration::ZERO"),
    mutant("incumbent-renewed", "a renewal is no sign of life", SPREAD,
           "let same = known.filter(|_| before == Some(&record));",
           "let same = known.filter(|_| before.is_some_and(|before| before.holder == record.holder));"),
    mutant("incumbent-outage", "time counts on through reads that fail", SPREAD,
           "            sighting.since = None;\n", "            let _ = sighting;\n"),
    mutant("incumbent-slow", "a slow read counts from when it was asked for to when it was answered", SPREAD,
           "incumbency(&record, asked.since(since))", "incumbency(&record, answered.since(since))"),
    mutant("incumbent-seat", "a Service that has a seat is looked at as well", SPREAD,
           "if known().any(|(_, service)| service.seat.is_some()) {", "if false {"),
    mutant("incumbent-lease", "a Service's own Lease is looked at though it names another", SPREAD,
           "held.map(|(name, service)| service.kube_vip_lease(name))",
           "held.map(|(name, _)| crate::intent::Service::default().kube_vip_lease(name))"),
    mutant("spread-worth", "a claim goes to a node that then has more", SPREAD,
           "giver >= taker + 2 && (is_far(giver) || is_far(taker))", "is_far(giver) || is_far(taker)"),
    mutant("recall-torn", "what could only be saved of a torn Service is remembered as understood", INTENT,
           "item.is_whole() && item.value().service_type", "item.value().service_type"),
    mutant("recall-list", "what a restart remembers counts as a list", INTENT,
           "        self.items.insert(key, item);\n", "        self.items.insert(key, item);\n        self.listed = true;\n"),
    mutant("recall-uid", "a restart remembers of an object also what was of another of its name", INTENT,
           "item.uid.is_some() && uid.is_some() && item.uid != uid", "false"),
    mutant("balance-open", "where no API server is known to be up, those that were up last take connections", BALANCE,
           "[up, self.last_up.clone(), ", "[up, BTreeSet::new(), "),
    mutant("balance-empty", "an empty list of API servers is no news", BALANCE,
           "if listed.is_empty() {", "if false {"),
    mutant("balance-new", "who comes is checked before it takes connections", BALANCE,
           "let in_doubt = up.is_empty();", "let up: BTreeSet<_> = up.into_iter().chain(self.with(Health::Untried)).collect();\n        let in_doubt = up.is_empty();"),
    mutant("balance-fall", "it takes several wrong answers in a row to be out", BALANCE,
           "_ => thresholds.fall.get(),", "_ => 1,"),
    mutant("balance-stay", "a client stays with its API server when another goes", BALANCE,
           "slots.filter_map(|at| heaviest(at, &backends)).collect()", "slots.filter_map(|at| backends.get(at % backends.len()).copied()).collect()"),
    mutant("balance-keep", "who only takes nothing new keeps its connections", BALANCE,
           "Serving { takes, keeps, in_doubt }", "let takes: BTreeSet<SocketAddr> = takes; Serving { keeps: takes.clone(), takes, in_doubt }"),
]


def module(root, file):
    """The files of one module: itself, and what lies in its directory, its tests apart."""
    inner = (root / file).with_suffix("").glob("*.rs")
    return [root / file] + sorted(path for path in inner if path.name != "tests.rs")


def place(root, file, old):
    """The file of the module in which the text is; the module's own if it is in none."""
    return next((path for path in module(root, file) if old in path.read_text()), root / file)


def check(root):
    """Complaints about texts that are not there exactly once."""
    complaints = []
    for m in MUTANTS:
        for file, old, _new in m.edits:
            count = sum(path.read_text().count(old) for path in module(root, file))
            if count != 1:
                complaints.append(f"{m.name}: the text to replace is in {file} {count} times, not once: {old!r}")
    return complaints


def chosen(words):
    """The mutants of those rules or names; all, if there are no words."""
    def fits(m, word):
        return m.name == word or m.name.split("-")[0].lstrip("0") == word.lstrip("0")

    unknown = [word for word in words if not any(fits(m, word) for m in MUTANTS)]
    if unknown:
        sys.exit(f"no mutant and no rule has the name {', '.join(unknown)}; see --list")
    return [m for m in MUTANTS if not words or any(fits(m, word) for word in words)]


def copy_tree(to):
    """The tree without its build products."""
    ignored = shutil.ignore_patterns("target", ".git")
    # New times: what a kept build directory holds may be of a mutant.
    shutil.copytree(ROOT, to, ignore=ignored, symlinks=True, copy_function=shutil.copy)


def slim(tree):
    """Leaves of the laboratory in `tree` only the simulation and the model."""
    for file, what in [("src/lib.rs", NOT_NEEDED), ("Cargo.toml", TESTED_ONLY)]:
        path = tree / LABORATORY / file
        path.write_text(what.sub("", path.read_text()))


def run(command, cwd, build):
    """(whether it passed, its output)."""
    environment = {**os.environ, **PROOF_SETTINGS, "CARGO_TARGET_DIR": str(build)}
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIME_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return False, f"test after {TIME_LIMIT_SECONDS} s ... FAILED"
    return done.returncode == 0, done.stdout


def failed_tests(output):
    """The names of the tests that failed, as libtest prints them; nothing if it did not come to running them."""
    return sorted(set(re.findall(r"^    ([a-z_0-9:]+)$", output.split("\nfailures:\n")[-1], re.M)))


def killer(command, output):
    """What killed a mutant: the first tests that failed, or the schedule's seed and the promise it broke."""
    if command == SCHEDULES and (seed := re.search(r"seed (\d+) breaks a promise", output)):
        promise = re.search(r"invariant: (\w+)", output)
        return f"random schedules, seed {seed[1]}" + (f": {promise[1]}" if promise else "")
    names = failed_tests(output) or ["(the test process ended)"]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    kind = {tuple(MODEL): "model, ", tuple(SIMULATION): "scenario "}.get(tuple(command), "")
    return kind + ", ".join(f"`{name}`" for name in names[:3]) + more


class Bench:
    """One copy of the tree, and its build directory."""

    def __init__(self, directory, build, commands):
        self.tree = directory / "tree"
        self.build = build
        self.commands = commands
        copy_tree(self.tree)
        slim(self.tree)

    def verdict(self, edits):
        """(whether the mutant was killed, what by)."""
        places = [place(self.tree, file, old) for file, old, _new in edits]
        before = {path: path.read_text() for path in places}
        try:
            for path, (_file, old, new) in zip(places, edits):
                path.write_text(path.read_text().replace(old, new))
            return self.try_tests()
        finally:
            for path, text in before.items():
                path.write_text(text)

    def try_tests(self):
        for command in self.commands:
            passed, output = run(command, self.tree, self.build)
            if passed:
                continue
            if re.search(r"^error(\[E\d+\])?:", output, re.M) and "test failed" not in output:
                return False, "DOES NOT COMPILE: " + " ".join(re.findall(r"^error.*$", output, re.M)[:2])
            return True, killer(command, output)
        return False, SURVIVED


HEAD = "| mutant | what is taken out | killed by |\n|---|---|---|"


def row(m, _killed, by):
    """One row of the table."""
    return f"| `{m.name}` | {m.what} | {by} |"


def work(bench, mutants, rows, done):
    """Takes mutants until there are none; `done` is told of each."""
    while True:
        try:
            index, m = mutants.get_nowait()
        except queue.Empty:
            return
        killed, by = bench.verdict(m.edits)
        rows[index] = (m, killed, by)
        print(row(m, killed, by), flush=True)
        done(m.name, row(m, killed, by))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", help="rules or mutants; all if none is named")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--check", action="store_true", help="only look whether each text is there once, and end")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--build", type=Path, help="where to keep the build directories")
    parser.add_argument("--proof", action="store_true", help="by the simulation and the model before the core's own tests")
    parser.add_argument("--write", action="store_true", help="put the table into docs/robustness.md")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{m.name:24} {m.what}" for m in MUTANTS))
        return 0
    complaints = check(ROOT)
    if complaints:
        print("\n".join(complaints), file=sys.stderr)
        return 2
    if arguments.check:
        return 0
    commands = [SIMULATION, SCHEDULES, MODEL, CORE] if arguments.proof else [CORE, SIMULATION]
    done = write_row if arguments.write else lambda _name, _row: None
    return try_all(chosen(arguments.names), commands, done, (arguments.jobs, arguments.build))


WRITING = threading.Lock()


def write_row(name, new):
    """Puts one row into the table of the record; what is no mutant any more leaves it."""
    with WRITING:
        text = RECORD.read_text()
        before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
        rows = dict(re.findall(r"^(\| `([^`]+)` \|.*)$", line)[0][::-1] for line in text[before:after].splitlines()
                    if line.startswith("| `"))
        rows[name] = new
        table = "\n".join([HEAD] + [rows[m.name] for m in MUTANTS if m.name in rows])
        RECORD.write_text(text[:before] + "\n\n" + table + "\n\n" + text[after:])


def try_all(mutants, commands, done, how):
    """Runs them all, as `how` says: how many at a time, and where they are built. The exit status."""
    jobs, build = how
    todo, rows = queue.Queue(), {}
    for item in enumerate(mutants):
        todo.put(item)
    with tempfile.TemporaryDirectory(prefix="mainstay-mutants-") as directory:
        here = Path(directory)
        places = [str(job) for job in range(max(1, min(jobs, len(mutants))))]
        benches = [Bench(here / job, (build or here / "build") / job, commands) for job in places]
        _killed, by = benches[0].verdict([])
        if by != SURVIVED:
            print(f"the tests fail without any mutant: {by}", file=sys.stderr)
            return 1
        print(HEAD, flush=True)
        workers = [threading.Thread(target=work, args=(one, todo, rows, done)) for one in benches]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    alive = [m.name for m, killed, _by in rows.values() if not killed]
    print(f"{len(rows) - len(alive)} of {len(rows)} killed" + (f"; not: {', '.join(alive)}" if alive else ""))
    return 1 if alive or len(rows) != len(mutants) else 0


if __name__ == "__main__":
    sys.exit(main())
