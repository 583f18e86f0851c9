// The published `openai` client for JavaScript, unchanged. `node openai.mjs URL SCENARIO` prints what it got as JSON.
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const [url, scenario] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const Fact = z.object({ city: z.string(), days: z.number().int() });
const weather = ({ city, days }) => `mild in ${city} for ${days} days`;

const scenarios = {
  async chat() {
    const answer = await client.chat.completions.create({ model: "tiny", messages });
    return { text: answer.choices[0].message.content, reason: answer.choices[0].finish_reason, usage: answer.usage };
  },

  async chat_stream() {
    let heard = "";
    const stream = client.chat.completions.stream({
      model: "tiny",
      messages,
      stream_options: { include_usage: true },
    });
    stream.on("content", (piece) => (heard += piece));
    const answer = await stream.finalChatCompletion();
    return { heard, text: answer.choices[0].message.content, usage: await stream.totalUsage() };
  },

  async chat_parse() {
    const answer = await client.chat.completions.parse({
      model: "tiny",
      messages,
      response_format: zodResponseFormat(Fact, "fact"),
    });
    return answer.choices[0].message.parsed;
  },

  async chat_tools() {
    const runner = client.chat.completions.runTools({
      model: "thinker",
      messages,
      tools: [zodFunction({ name: "weather", parameters: Fact, function: weather })],
    });
    const text = await runner.finalContent();
    return { text, roles: runner.messages.map((message) => message.role) };
  },

  async responses() {
    const first = await client.responses.create({ model: "tiny", instructions: "Be brief.", input: "hi" });
    const second = await client.responses.create({
      model: "tiny",
      previous_response_id: first.id,
      input: "and now?",
    });
    const items = [];
    for await (const item of client.responses.inputItems.list(second.id)) items.push(item.type);
    const kept = await client.responses.retrieve(second.id);
    await client.responses.delete(second.id);
    const gone = await client.responses.retrieve(second.id).catch((error) => error.status);
    return { text: first.output_text, status: first.status, kept: kept.output_text, items, gone };
  },

  async responses_stream() {
    let heard = "";
    const kinds = [];
    const stream = client.responses.stream({ model: "tiny", input: "hi" });
    for await (const event of stream) {
      kinds.push(event.type);
      if (event.type === "response.output_text.delta") heard += event.delta;
    }
    const answer = await stream.finalResponse();
    return { heard, text: answer.output_text, first: kinds[0], last: kinds.at(-1), usage: answer.usage };
  },

  async responses_parse() {
    const answer = await client.responses.parse({
      model: "tiny",
      input: "hi",
      text: { format: zodTextFormat(Fact, "fact") },
    });
    return answer.output_parsed;
  },

  async responses_tools() {
    const tools = [zodResponsesFunction({ name: "weather", parameters: Fact })];
    const asked = await client.responses.parse({ model: "thinker", input: "hi", tools });
    const call = asked.output.find((item) => item.type === "function_call");
    const answer = await client.responses.create({
      model: "thinker",
      previous_response_id: asked.id,
      tools,
      input: [
        { type: "function_call_output", call_id: call.call_id, output: weather(call.parsed_arguments) },
      ],
    });
    return { called: call.parsed_arguments, text: answer.output_text };
  },

  async embeddings() {
    const answer = await client.embeddings.create({ model: "embedder", input: ["one", "two"] });
    return answer.data.map((each) => each.embedding.length);
  },

  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    return { names, one: (await client.models.retrieve("tiny")).id };
  },

  async mistake() {
    const error = await client.chat.completions.create({ model: "nobody", messages }).catch((error) => error);
    return { kind: error.constructor.name, status: error.status, message: error.message };
  },

  async abort() {
    const stream = await client.chat.completions.create({ model: "tiny", messages, stream: true });
    for await (const _ of stream) break;
    const again = await client.chat.completions.create({ model: "tiny", messages });
    return again.choices[0].message.content;
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
