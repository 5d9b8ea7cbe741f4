"use strict";
// All of the page's behaviour. What is typed or answered enters the page as textContent, never as
// markup. The conversation is kept in this tab and nowhere else: a new conversation or a closed tab
// forgets it.

const MAX_HISTORY = 300_000; // characters sent; the model's context is far smaller
const MAX_TURNS = 199; // odd, so that the first is a question
const FOLLOW_WITHIN = 80; // pixels from the log's end; further up, the user reads undisturbed
const SETTINGS = ["temperature", "top_p", "max_tokens", "seed"];

const element = (id) => document.getElementById(id);

let model = null; // {id, snakelm: {chat, context, temperature, …}}
let turns = []; // {role, content}
let dropped = 0; // how many of them no longer fit the model's context
let running = null; // the AbortController of the current answer

// --- the log ---

function following(change) {
  const log = element("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < FOLLOW_WITHIN;
  change(log);
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function addToLog(kind, text) {
  const added = document.createElement(kind.startsWith("note") ? "p" : "div");
  added.className = kind;
  added.dir = "auto";
  added.textContent = text;
  following((log) => log.append(added));
  return added;
}

function extend(turn, text) {
  following(() => {
    turn.classList.remove("waiting");
    turn.textContent += text;
  });
}

// --- the form ---

function setBusy(busy) {
  element("send").hidden = busy;
  element("stop").hidden = !busy;
  element("question").setAttribute("aria-busy", busy);
}

function fitQuestion() {
  const box = element("question");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

// --- requests ---

function requestBody(question) {
  const body = { model: model.id, stream: true };
  for (const name of SETTINGS) body[name] = element(name).valueAsNumber;
  if (!model.snakelm.chat) return { ...body, prompt: question };

  let history = [...turns, { role: "user", content: question }].slice(-MAX_TURNS);
  const characters = () => history.reduce((sum, turn) => sum + turn.content.length, 0);
  while (history.length > 1 && characters() > MAX_HISTORY) history = history.slice(2);

  const instructions = element("system").value;
  const system = instructions ? [{ role: "system", content: instructions }] : [];
  return { ...body, messages: [...system, ...history] };
}

// The events of a reply: the JSON of each `data:` line, until [DONE].
async function* readEvents(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the server closed the connection before its answer was complete");

    buffer += value;
    const complete = buffer.split("\n\n");
    buffer = complete.pop();
    for (const event of complete) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function streamAnswer(question, turn) {
  const reply = await fetch(model.snakelm.chat ? "/v1/chat/completions" : "/v1/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(requestBody(question)),
    signal: running.signal,
  });
  if (!reply.ok) throw new Error((await reply.json()).error.message);

  for await (const event of readEvents(reply)) {
    if (event.error) throw new Error(event.error.message);
    const choice = event.choices[0];
    if (!choice) continue;

    extend(turn, choice.delta ? choice.delta.content || "" : choice.text);
    if (choice.finish_reason === "length") {
      addToLog("note", "cut off: no more room, or the longest answer reached");
    }
    noteDropped(event.snakelm?.dropped_turns || 0);
  }
}

function noteDropped(count) {
  if (count > dropped) {
    addToLog(
      "note",
      `the conversation is longer than the model's context: its first ${count} turns were dropped`,
    );
    dropped = count;
  }
}

// --- a conversation ---

async function ask(question) {
  const controller = (running = new AbortController());
  setBusy(true);
  const turn = addToLog("turn user", question);
  const answer = addToLog("turn assistant waiting", "");

  let problem = null;
  try {
    await streamAnswer(question, answer);
  } catch (error) {
    problem = error;
  }
  if (running !== controller) return; // a new conversation has begun meanwhile

  running = null;
  setBusy(false);
  answer.classList.remove("waiting");
  if (problem) noteProblem(problem);

  if (problem && !answer.textContent) {
    // nothing was answered: the question goes back, to be sent again
    turn.remove();
    answer.remove();
    if (!element("question").value) element("question").value = question;
    fitQuestion();
  } else {
    turns.push(
      { role: "user", content: question },
      { role: "assistant", content: answer.textContent },
    );
  }
  element("question").focus();
}

function noteProblem(problem) {
  if (problem.name === "AbortError") {
    addToLog("note", "stopped");
  } else if (problem instanceof TypeError) {
    // what fetch throws when there is no connection
    addToLog("note wrong", "the server can't be reached; is it still running?");
  } else {
    addToLog("note wrong", problem.message);
  }
}

function submit(event) {
  event.preventDefault();
  const question = element("question").value;
  if (running || !model || !question.trim()) return;

  element("question").value = "";
  fitQuestion();
  ask(question);
}

function startConversation() {
  running?.abort();
  running = null;
  turns = [];
  dropped = 0;
  setBusy(false);

  const context = `${model.snakelm.context} tokens`;
  element("log").replaceChildren();
  addToLog(
    "note",
    model.snakelm.chat
      ? `The model looks back over ${context}. It answers in the style of the conversations it was ` +
        "tuned on, right or wrong."
      : `A base model: it continues your text, over ${context}, and remembers none of it.`,
  );
  element("question").focus();
}

function showSettings() {
  document.querySelector("details").open = true;
}

// --- start ---

async function start() {
  try {
    const reply = await fetch("/v1/models");
    if (!reply.ok) throw new Error((await reply.json()).error.message);
    model = (await reply.json()).data[0];
  } catch (error) {
    element("hint").textContent = `the model can't be reached: ${error.message}`;
    return;
  }

  const defaults = model.snakelm;
  element("model").textContent = model.id;
  for (const name of SETTINGS) element(name).value = defaults[name];
  element("system").value = defaults.system;
  element("system-label").hidden = !defaults.chat;
  element("question").placeholder = defaults.chat ? "Ask something" : "Begin a text";
  for (const name of ["question", "send"]) element(name).disabled = false;
  startConversation();
}

element("form").addEventListener("submit", submit);
element("form").addEventListener("invalid", showSettings, true);
element("stop").addEventListener("click", () => running?.abort());
element("new").addEventListener("click", () => model && startConversation());
element("question").addEventListener("input", fitQuestion);
element("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    element("form").requestSubmit();
  }
});
start();
