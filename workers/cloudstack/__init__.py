"""The adapter for Apache CloudStack: what it publishes becomes our events. A door for an orchestrator as it is.

A notice of CloudStack's says that something happened to a VM, but not where it lies, nor what belongs on its drive; it
comes late, doubled, out of order, and sometimes without the VM's uuid. So a notice is taken as a reason to look: what
CloudStack's API says of the VM *now* is compared with what the fleet was told last, and the difference is the event.

| module       | holds                                                                                          |
|--------------|------------------------------------------------------------------------------------------------|
| `payload`    | the four forms of JSON that CloudStack publishes, read into one `Notice`; pure                 |
| `values`     | reading foreign JSON without trusting it; pure                                                 |
| `meaning`    | the table of which notices count at all, and for what; pure                                    |
| `lookup`     | the port `VmDirectory`: what the adapter asks CloudStack, and the plain records that answer    |
| `translate`  | notice + what was told + what is seen -> what to tell the fleet; pure, and a table to read     |
| `drafts`     | a decision and the VM's records -> an event of our contract; pure                              |
| `memory`     | the port `Memory`: what the fleet was told of a VM; one adapter at a time per VM               |
| `adapter`    | the use case: take one payload, end with an event stored, or with the reason why not           |
| `api`        | CloudStack's API: signed calls over TLS                                                        |
| `directory`  | `VmDirectory` on that API                                                                      |
| `store`      | `Memory` on Redis                                                                              |
| `webhook`    | the door for CloudStack's webhooks (tornado)                                                   |
| `bus`        | the door for its RabbitMQ event bus (kombu)                                                    |
| `lines`      | the door for all else, Kafka too: a payload per line on standard input                         |
| `passing`    | what all doors do about an error: what could not be taken now comes again                      |
| `life`       | how long a door goes on, and its sign of life                                                  |
| `secret_files`| secrets that stand in files                                                                   |
| `settings`   | the table `[cloudstack]` of the settings                                                       |
"""
