// What CloudStack's KVM agent does with its hook, as in its LibvirtStartCommandWrapper.java and LibvirtKvmAgentHook.java:
// a new script engine for each VM, an answer that is null or an Exception means the XML as it was, and an Error ends the thread.
// A call is a connection: a line ("start" or "unmanage"), then the XML; what would be started comes back.

import java.util.concurrent.Executors

class Log {
    void say(String level, String text) { println("${level} ${text}"); System.out.flush() }
    void debug(String text) { say('DEBUG', text) }
    void info(String text) { say('INFO', text) }
    void warn(String text) { say('WARN', text) }
    void error(String text) { say('ERROR', text) }
}

class Agent {
    static String hooks
    static final Log LOG = new Log()

    static String transformed(String xml) {
        try {
            def script = new GroovyScriptEngine(hooks).run('libvirt-vm-xml-transformer.groovy', new Binding()) as GroovyObject
            def answer = script.invokeMethod('transform', [LOG, xml] as Object[]) as String
            return answer == null ? xml : answer
        } catch (Exception error) {
            LOG.warn("Exception occurred when handling LibVirt XML transformer hook: ${error}")
            return xml
        }
    }
}

class LibvirtStartCommandWrapper {
    static String execute(String xml) { Agent.transformed(xml) }
}

class LibvirtUnmanageInstanceCommandWrapper {
    static String execute(String xml) { Agent.transformed(xml) }
}

Agent.hooks = args[0]
def workers = Executors.newFixedThreadPool(args[2] as int)
def server = new ServerSocket(args[1] as int, 200, InetAddress.getByName('127.0.0.1'))
println("listening on ${server.localPort}")
System.out.flush()
while (true) {
    def socket = server.accept()
    workers.execute {
        socket.withCloseable {
            def (command, xml) = new String(socket.inputStream.readAllBytes(), 'UTF-8').split('\n', 2)
            def answer = command == 'unmanage' ? LibvirtUnmanageInstanceCommandWrapper.execute(xml) : LibvirtStartCommandWrapper.execute(xml)
            socket.outputStream << answer.getBytes('UTF-8')
        }
    }
}
