"""The adapter for Apache CloudStack: what it publishes becomes our events.

A notice of CloudStack's says that something happened to a VM, but not where it lies, nor what belongs on its drive; it
comes late, doubled, out of order, and sometimes without the VM's uuid. So a notice is taken as a reason to look: what
CloudStack's API says of the VM *now* is compared with what was published last, and the difference is the event.

| module         | holds                                                                                        |
|----------------|----------------------------------------------------------------------------------------------|
| `notices`      | the four forms of JSON that CloudStack publishes, read into one `Notice`; pure               |
| `json_values`  | reading foreign JSON without trusting it; pure                                               |
| `relevance`    | the table of which notices count at all, and for what; pure                                  |
| `decide`       | notice + what was published + what is seen -> what to publish; pure, and a table to read     |
| `events`       | a decision and the VM's records -> an event of our contract; pure                            |
| `ports`        | what the adapter asks CloudStack, what it remembers, and the plain records of both           |
| `adapter`      | the use case: take one payload, end with an event stored, or with the reason why not         |
| `api`          | CloudStack's API: signed calls over TLS                                                      |
| `directory`    | the port `VmDirectory` on that API                                                           |
| `redis_memory` | the port `Memory` on Redis                                                                   |
| `webhook`      | the entry point for CloudStack's webhooks (tornado)                                          |
| `amqp`         | the entry point for its RabbitMQ event bus (kombu)                                           |
| `stdin`        | the entry point for all else, Kafka too: a payload per line on standard input                |
| `gate`         | the use case of KVM hosts: ask for the drive of a VM that is about to start, and wait for it  |
| `gate_server`  | the entry point for them (tornado)                                                           |
| `gate_tokens`  | the tokens by which they are known                                                           |
| `certificates` | the certificates of the two servers                                                          |
| `http_server`  | what the two servers share                                                                   |
| `retrying`     | what all entry points do about an error: what could not be taken now comes again             |
| `wiring`       | settings -> an adapter                                                                       |

The settings are `workers.config.cloudstack`.
"""
