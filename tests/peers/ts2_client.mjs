// The checklist as the TypeScript SDK 2.x sees it.
//     ts2_client.mjs --server KIND --era legacy|modern|auto --dir DIR [--meet PATH --name NAME] (--socket PATH | -- COMMAND ARGS...)

import { SocketTransport, anything, inTurns, main, peer } from './steps.mjs';

const { Client } = peer('@modelcontextprotocol/client');
const { StdioClientTransport } = peer('@modelcontextprotocol/client/stdio');

const modes = { legacy: 'legacy', auto: 'auto', modern: { pin: '2026-07-28' } };

const typed = {
  'tools/list': (client, params, options) => client.listTools(params, options),
  'prompts/list': (client, params, options) => client.listPrompts(params, options),
  'resources/list': (client, params, options) => client.listResources(params, options),
  'resources/templates/list': (client, params, options) => client.listResourceTemplates(params, options),
  'tools/call': (client, params, options) => client.callTool(params, options),
  'prompts/get': (client, params, options) => client.getPrompt(params, options),
  'resources/read': (client, params, options) => client.readResource(params, options),
  'resources/subscribe': (client, params, options) => client.subscribeResource(params, options),
  'resources/unsubscribe': (client, params, options) => client.unsubscribeResource(params, options),
  'completion/complete': (client, params, options) => client.complete(params, options),
  'logging/setLevel': (client, params, options) => client.setLoggingLevel(params.level, options),
  ping: (client, _params, options) => client.ping(options),
};

await main(async ({ era, socket, command }, checklist) => {
  const client = new Client(
    { name: 'checklist', version: '1.0.0' },
    {
      capabilities: { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } },
      versionNegotiation: { mode: modes[era ?? 'auto'] },
    },
  );
  client.setRequestHandler('sampling/createMessage', ({ method, params }) => checklist.ask(method, params));
  client.setRequestHandler('elicitation/create', ({ method, params }) => checklist.ask(method, params));
  client.setRequestHandler('roots/list', () => checklist.roots());
  client.fallbackNotificationHandler = async notification => checklist.hear(notification);
  await client.connect(
    inTurns(
      socket ? new SocketTransport(socket) : new StdioClientTransport({ command: command[0], args: command.slice(1) }),
    ),
  );
  return {
    initialize: () => ({
      protocolVersion: client.getNegotiatedProtocolVersion(),
      serverInfo: client.getServerVersion(),
      capabilities: client.getServerCapabilities(),
      instructions: client.getInstructions(),
    }),
    send: (method, params, { raw, ...options }) =>
      raw || !typed[method]
        ? client.request({ method, params }, anything, options)
        : typed[method](client, params, options),
    notify: (method, params) => client.notification({ method, params }),
    listen: filter => client.listen(filter),
    rootsChanged: () => client.sendRootsListChanged(),
    close: () => client.close(),
  };
});
