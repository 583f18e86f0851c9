// The published `@anthropic-ai/sdk`, unchanged. `node anthropic.mjs URL SCENARIO` prints what it got as JSON.
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

const [url, scenario] = process.argv.slice(2);
const client = new Anthropic({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const max_tokens = 200;
const Fact = z.object({ city: z.string(), days: z.number().int() });

const scenarios = {
  async message() {
    const message = await client.messages.create({ model: "tiny", max_tokens, messages, system: "Be brief." });
    const counted = await client.messages.countTokens({ model: "tiny", messages, system: "Be brief." });
    return {
      text: message.content[0].text,
      reason: message.stop_reason,
      input: message.usage.input_tokens + message.usage.cache_read_input_tokens,
      counted: counted.input_tokens,
    };
  },

  async stream() {
    let heard = "";
    const stream = client.messages.stream({ model: "tiny", max_tokens, messages });
    stream.on("text", (piece) => (heard += piece));
    const message = await stream.finalMessage();
    return { heard, text: message.content[0].text, reason: message.stop_reason };
  },

  async thinking() {
    const stream = client.messages.stream({
      model: "thinker",
      max_tokens: 4000,
      messages,
      thinking: { type: "enabled", budget_tokens: 1024 },
    });
    const message = await stream.finalMessage();
    const again = await client.messages.create({
      model: "thinker",
      max_tokens: 4000,
      messages: [...messages, { role: "assistant", content: message.content }, { role: "user", content: "so?" }],
      thinking: { type: "enabled", budget_tokens: 1024 },
    });
    const [thought, text] = message.content;
    return {
      kinds: message.content.map((block) => block.type),
      thought: thought.thinking,
      signed: thought.signature.length > 0,
      text: text.text,
      again: again.content.at(-1).text,
    };
  },

  async parse() {
    const message = await client.messages.parse({
      model: "tiny",
      max_tokens,
      messages,
      output_config: { format: zodOutputFormat(Fact) },
    });
    return message.parsed_output;
  },

  async tools() {
    const runner = client.beta.messages.toolRunner({
      model: "thinker",
      max_tokens,
      messages,
      tools: [
        betaZodTool({
          name: "weather",
          description: "How the weather is.",
          inputSchema: Fact,
          run: ({ city, days }) => `mild in ${city} for ${days} days`,
        }),
      ],
    });
    const message = await runner;
    return { text: message.content.at(-1).text, turns: runner.params.messages.length };
  },

  async mistake() {
    const error = await client.messages.create({ model: "nobody", max_tokens, messages }).catch((error) => error);
    return { kind: error.constructor.name, status: error.status, type: error.error.error.type };
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
