// Package agentsocket is the Unix socket through which one plugin process calls its
// agent.
//
// It owns: the socket (one for each process, so the agent knows who calls without
// asking), the framing (JSON-RPC 2.0, one object a line, one or many calls a
// connection, several connections), the methods and their parameters, and the
// bounds. What a call does is its [Handler]'s: nothing here stores or sends.
//
//	ping             → {}
//	report_trigger   {trigger_name, payload, severity?, key?} → {accepted, event_id}
//	upload_logs      {logs: [{level, message, timestamp}]} → {accepted}
//	get_agent_info   → {agent_id, version, environment, agent_type, organization_id}
//	get_config       {section?} → {config}
//	progress         {percent?, message}
//	get_state        {key} → {value}, null where there is none; {} → {state: {key: value}}
//	set_state        {key, value}
//	delete_state     {key}
//
// # Invariants
//
//   - report_trigger answers after its Handler returned: then the event is on disk. So is a
//     value when set_state has answered.
//   - Whose call it is comes from the socket, never from parameters: an
//     instruction_id that a plugin sends is not believed.
//   - Only the agent's user can connect: the socket has mode 0600, in a directory that is the
//     caller's alone or, where its path would be too long for sun_path (unix(7)), one of its own.
//   - A plugin that calls too fast is slowed down, not refused: 1,000 calls a
//     second, 16 connections, 1 MiB a line, 1,000 log entries a call.
//   - When [Serve] returns the socket is gone and no call is under way. One that was opened
//     ahead ([Open]) belongs to one process all the same: it is served once.
//
// # Failure
//
// A refused call is a JSON-RPC error with a sentence for the plugin's author;
// -32602 for wrong parameters, -32601 for a method that does not exist or is not
// for this kind of plugin, -32000 for what the agent could not do. A line that is
// too long ends its connection.
//
// To try it by hand: echo '{"jsonrpc":"2.0","id":1,"method":"ping"}' | nc -U $STAVILY_AGENT_SOCKET
package agentsocket
