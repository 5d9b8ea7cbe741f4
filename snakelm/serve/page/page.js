"use strict";
// The page's whole behaviour. What was typed or said enters the page as textContent, never as markup; what is sent is
// kept here and nowhere else, so a new conversation or a closed tab forgets it.

const LONGEST = 300_000; // characters of history sent; the model looks back over far fewer
const MOST_TURNS = 199; // odd: the first is a question
const at = (id) => document.getElementById(id);

let model = null; // {id, snakelm: {chat, context, temperature, …}}
let turns = [];
let gone = 0; // of them, how many the model no longer sees
let running = null; // the AbortController of the answer at hand

function add(kind, text) {
  const low = at("log").scrollHeight - at("log").scrollTop - at("log").clientHeight < 80;
  const made = document.createElement(kind.startsWith("note") ? "p" : "div");
  made.className = kind;
  made.dir = "auto";
  made.textContent = text;
  at("log").append(made);
  if (low) at("log").scrollTop = at("log").scrollHeight;
  return made;
}

function say(into, text) {
  const log = at("log");
  const low = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  into.classList.remove("waiting");
  into.textContent += text;
  if (low) log.scrollTop = log.scrollHeight; // follows, unless the reader has scrolled up
}

function busy(is) {
  at("send").hidden = is;
  at("stop").hidden = !is;
  at("question").setAttribute("aria-busy", is);
}

function grow() {
  const box = at("question");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

function body(question) {
  const sent = { model: model.id, stream: true };
  for (const name of ["temperature", "top_p", "max_tokens", "seed"]) sent[name] = at(name).valueAsNumber;
  if (!model.snakelm.chat) return { ...sent, prompt: question };
  let kept = [...turns, { role: "user", content: question }].slice(-MOST_TURNS);
  while (kept.length > 1 && kept.reduce((n, turn) => n + turn.content.length, 0) > LONGEST) kept = kept.slice(2);
  const system = at("system").value ? [{ role: "system", content: at("system").value }] : [];
  return { ...sent, messages: [...system, ...kept] };
}

// The events of a reply: each `data:` line's JSON, until [DONE].
async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the server ended the connection before its answer was whole");
    held += value;
    const whole = held.split("\n\n");
    held = whole.pop();
    for (const event of whole) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function answer(question, into) {
  const reply = await fetch(model.snakelm.chat ? "/v1/chat/completions" : "/v1/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body(question)),
    signal: running.signal,
  });
  if (!reply.ok) throw new Error((await reply.json()).error.message);
  for await (const event of events(reply)) {
    if (event.error) throw new Error(event.error.message);
    const choice = event.choices[0];
    if (!choice) continue;
    say(into, choice.delta ? choice.delta.content || "" : choice.text);
    if (choice.finish_reason === "length") add("note", "cut off: no more room, or the longest answer reached");
    const dropped = event.snakelm?.dropped_turns || 0;
    if (dropped > gone) add("note", `the conversation is longer than the model looks back: its first ${dropped} turns went`);
    gone = Math.max(gone, dropped);
  }
}

async function ask(question) {
  const mine = (running = new AbortController());
  busy(true);
  const asked = add("turn user", question);
  const into = add("turn assistant waiting", "");
  let problem = null;
  try {
    await answer(question, into);
  } catch (error) {
    problem = error;
  }
  if (running !== mine) return; // a new conversation has begun meanwhile
  running = null;
  busy(false);
  into.classList.remove("waiting");
  if (problem && problem.name !== "AbortError") {
    add("note wrong", problem instanceof TypeError ? "the server can't be reached; is it still running?" : problem.message);
  } else if (problem) {
    add("note", "stopped");
  }
  if (problem && !into.textContent) {
    // nothing was said: the question goes back to be sent again
    asked.remove();
    into.remove();
    if (!at("question").value) at("question").value = question;
    grow();
  } else {
    turns.push({ role: "user", content: question }, { role: "assistant", content: into.textContent });
  }
  at("question").focus();
}

function submit(event) {
  event?.preventDefault();
  const question = at("question").value;
  if (running || !model || !question.trim()) return;
  at("question").value = "";
  grow();
  ask(question);
}

function renew() {
  running?.abort();
  running = null;
  [turns, gone] = [[], 0];
  busy(false);
  at("log").replaceChildren();
  add("note", model.snakelm.chat
    ? `The model looks back over ${model.snakelm.context} tokens. It answers in the manner of its conversations, right or wrong.`
    : `A base model: it goes on with your text, over ${model.snakelm.context} tokens, and remembers none.`);
  at("question").focus();
}

async function begin() {
  try {
    const reply = await fetch("/v1/models");
    if (!reply.ok) throw new Error((await reply.json()).error.message);
    model = (await reply.json()).data[0];
  } catch (error) {
    at("hint").textContent = `the model can't be reached: ${error.message}`;
    return;
  }
  at("model").textContent = model.id;
  for (const name of ["temperature", "top_p", "max_tokens", "seed"]) at(name).value = model.snakelm[name];
  at("system").value = model.snakelm.system || "";
  at("system-label").hidden = !model.snakelm.chat;
  at("question").placeholder = model.snakelm.chat ? "Ask something" : "Begin a text";
  for (const name of ["question", "send"]) at(name).disabled = false;
  renew();
}

at("form").addEventListener("submit", submit);
at("form").addEventListener("invalid", () => { document.querySelector("details").open = true; }, true);
at("stop").addEventListener("click", () => running?.abort());
at("new").addEventListener("click", () => model && renew());
at("question").addEventListener("input", grow);
at("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("form").requestSubmit();
  }
});
begin();
