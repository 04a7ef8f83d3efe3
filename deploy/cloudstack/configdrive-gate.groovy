// The work of the hook libvirt-vm-xml-transformer.groovy, which loads this file once and keeps it: it lies beside it.
//
// Whatever goes wrong, the XML is answered as it came (fail-open), or, with fail_closed, with a drive that libvirt refuses.
// Settings: /etc/cloudstack/agent/configdrive-gate.properties. docs/how-to/cloudstack.md says how to install it.

import groovy.json.JsonOutput
import groovy.json.JsonSlurper

import java.nio.file.Files
import java.nio.file.Paths
import java.nio.file.attribute.PosixFilePermission
import java.security.KeyStore
import java.security.cert.CertificateFactory
import java.util.concurrent.Callable
import java.util.concurrent.FutureTask
import java.util.concurrent.TimeUnit
import java.util.concurrent.TimeoutException
import javax.net.ssl.HostnameVerifier
import javax.net.ssl.HttpsURLConnection
import javax.net.ssl.SSLContext
import javax.net.ssl.TrustManagerFactory
import javax.xml.parsers.DocumentBuilderFactory
import org.w3c.dom.Element
import org.xml.sax.InputSource

class Hook {
    static final String FAILURES = 'configdrive.gate.failures'
    static final String SILENT_SINCE = 'configdrive.gate.silent_since'
    static final String LATE = 'configdrive.gate.late' // how often in a row, and when last
    static final int MOST = 1024 * 1024

    static class NoDrive extends Exception {
        final boolean counts // whether it tells that the gate is down, and not only that this VM has no drive

        NoDrive(String why, boolean counts) {
            super(why)
            this.counts = counts
        }
    }

    // The gate is there, and the fleet has not made this VM's drive in time: others may have theirs.
    static class Late extends NoDrive {
        Late(String why) { super(why, false) }
    }

    String transform(logger, String xml) {
        Properties settings = null
        Element domain = null
        String name = '?'
        try {
            domain = parsed(xml)
            name = child(domain, 'name')?.textContent
            // s-1-VM, v-2-VM, r-4-VM: CloudStack's own (VirtualMachineName.java). An imported VM keeps any name that it had.
            if (name == null || name ==~ /[a-hj-z]-[0-9]+-.+/) {
                return xml
            }
            if (Thread.currentThread().stackTrace.any { it.className.contains('Unmanage') }) {
                logger.info("configdrive: ${name} is being unmanaged: its XML stays as it is".toString())
                return xml
            }
            settings = readSettings()
            require(settings)
            Map answer = ask(settings, question(settings, domain, name))
            if (answer.verdict != 'drive') {
                logger.info("configdrive: ${name} gets no drive: ${answer.reason}".toString())
                return xml
            }
            String whole = withDevices(xml, answer.elements as List<String>)
            if (disks(parsed(whole)).size() != disks(domain).size() + 1) {
                throw new NoDrive('the answer of the gate is not one drive', false)
            }
            logger.info("configdrive: ${name} has its drive: ${answer.reason}".toString())
            return whole
        } catch (Throwable error) { // an Error would end the agent's thread, and with it the start
            return without(logger, xml, settings, name, error)
        }
    }

    // ---- fail-open, fail-closed -------------------------------------------------------------------------------------

    private static String without(logger, String xml, Properties settings, String name, Throwable error) {
        try {
            String why = error instanceof NoDrive ? error.message : "${error.class.simpleName}: ${error.message}".toString()
            boolean closed = settings?.getProperty('fail_closed', 'false')?.trim() == 'true'
            logger.error("configdrive: ${name} ${closed ? 'is not started' : 'starts without its drive'}: ${why}".toString())
            if (!closed) {
                return xml
            }
            // A start cannot be refused by throwing: the agent then starts the XML as it was. libvirt refuses a disk that is not there.
            String reason = why.replaceAll(/[^A-Za-z0-9 .:,_-]/, ' ').replaceAll(/ +/, ' ').trim().take(160)
            return withDevices(xml, ["<disk type='file' device='disk'><driver name='qemu' type='raw'/>" +
                "<source file='/no-config-drive/${reason}' startupPolicy='mandatory'/>" +
                "<target dev='vdzz' bus='virtio'/><readonly/></disk>".toString()])
        } catch (Throwable ignored) {
            return xml
        }
    }

    // ---- the question -----------------------------------------------------------------------------------------------

    private static Map question(Properties settings, Element domain, String name) {
        Element os = child(domain, 'os')
        Element type = child(os, 'type')
        boolean foreign = disks(domain).any { // ConfigDrive.java: configdrive/<instance name>.iso
            String file = child(it, 'source')?.getAttribute('file') ?: ''
            it.getAttribute('device') == 'cdrom' && file.endsWith("/configdrive/${name}.iso")
        }
        return [
            uuid: child(domain, 'uuid').textContent.trim(),
            name: name,
            host: settings.getProperty('host').trim(),
            foreign: foreign,
            fail_closed: settings.getProperty('fail_closed', 'false').trim() == 'true',
            definition: [
                machine: type.getAttribute('machine') ?: 'pc',
                arch: type.getAttribute('arch') ?: 'x86_64',
                disks: disks(domain).collect {
                    Element target = child(it, 'target')
                    String order = child(it, 'boot')?.getAttribute('order')
                    Map disk = [
                        target: target.getAttribute('dev'),
                        bus: target.getAttribute('bus') ?: 'ide',
                        device: it.getAttribute('device') ?: 'disk',
                    ]
                    order ? disk + [boot: order as int] : disk
                },
                controllers: devices(domain, 'controller').collect {
                    Map one = [type: it.getAttribute('type')]
                    if (it.getAttribute('model')) { one.model = it.getAttribute('model') }
                    if (it.getAttribute('index')) { one.index = it.getAttribute('index') as int }
                    one
                },
                boot: children(os, 'boot').collect { it.getAttribute('dev') },
            ],
        ]
    }

    // ---- the gate ---------------------------------------------------------------------------------------------------

    private static Map ask(Properties settings, Map question) {
        double pause = (settings.getProperty('pause') ?: '60') as double
        Object since = System.properties.get(SILENT_SINCE)
        if (since != null && System.nanoTime() - (since as long) < pause * 1e9) {
            throw new NoDrive('the gate has not answered lately, and is left alone for a minute', false)
        }
        double seconds = (settings.getProperty('seconds') ?: '21') as double
        boolean hurried = isLate(pause)
        if (hurried) { // a start that waits holds one of the agent's few workers
            seconds = Math.min(seconds, (settings.getProperty('hurry') ?: '5') as double)
        }
        long deadline = System.nanoTime() + (seconds * 1e9) as long
        String body = JsonOutput.toJson(question)
        FutureTask<Map> task = new FutureTask<Map>({ patiently(settings, body, deadline) } as Callable<Map>)
        Thread thread = new Thread(task, 'configdrive-gate')
        thread.daemon = true
        thread.start()
        try {
            Map answer = task.get(deadline - System.nanoTime(), TimeUnit.NANOSECONDS)
            answered(false)
            return answer
        } catch (TimeoutException ignored) {
            thread.interrupt()
            if (hurried) { late() } else { counted() }
            throw new NoDrive("the gate has not answered in ${seconds} s".toString(), true)
        } catch (java.util.concurrent.ExecutionException error) {
            if (!(error.cause instanceof NoDrive) || (error.cause as NoDrive).counts) {
                counted()
            } else {
                answered(error.cause instanceof Late)
            }
            throw error.cause
        }
    }

    private static void answered(boolean isLate) {
        System.properties.remove(FAILURES)
        System.properties.remove(SILENT_SINCE)
        if (isLate) { late() } else { System.properties.remove(LATE) }
    }

    private static boolean isLate(double pause) {
        Object[] known = System.properties.get(LATE) as Object[]
        return known != null && (known[0] as int) >= 2 && System.nanoTime() - (known[1] as long) < pause * 1e9
    }

    private static synchronized void late() {
        Object[] known = System.properties.get(LATE) as Object[]
        System.properties.put(LATE, [(known == null ? 0 : known[0] as int) + 1, System.nanoTime()] as Object[])
    }

    private static synchronized void counted() {
        int failures = ((System.properties.get(FAILURES) ?: 0) as int) + 1
        System.properties.put(FAILURES, failures)
        if (failures >= 2) {
            System.properties.put(SILENT_SINCE, System.nanoTime())
            System.properties.remove(FAILURES)
        }
    }

    // A gate that is started anew is waited for; one that is not there at all is not, for longer than 'restart'.
    private static Map patiently(Properties settings, String body, long deadline) {
        long patience = (((settings.getProperty('restart') ?: '5') as double) * 1e9) as long
        long last = System.nanoTime()
        while (true) {
            try {
                return once(settings, body, deadline)
            } catch (ConnectException error) {
                if (System.nanoTime() - last > patience) {
                    throw new NoDrive("the gate is not there: ${error.message}".toString(), true)
                }
            } catch (IOException error) {
                if (!isBroken(error)) {
                    throw new NoDrive("the gate is not trusted, or no gate: ${error.message}".toString(), true)
                }
                last = System.nanoTime() // it was there, and went
            }
            Thread.sleep(250)
        }
    }

    private static boolean isBroken(IOException error) {
        for (Throwable cause = error; cause != null; cause = cause.cause) {
            if (cause instanceof java.security.cert.CertificateException) {
                return false
            }
        }
        return error instanceof SocketException || error instanceof EOFException || error instanceof javax.net.ssl.SSLException
    }

    private static Map once(Properties settings, String body, long deadline) {
        URL url = new URL(settings.getProperty('url').trim().replaceAll('/+$', '') + '/start')
        if (url.protocol != 'https') {
            throw new NoDrive('url has to begin with https://', false)
        }
        HttpsURLConnection connection = url.openConnection(Proxy.NO_PROXY) as HttpsURLConnection
        try {
            connection.SSLSocketFactory = trusting(settings).socketFactory
            // Asked only when the name does not fit the certificate: the agent's own default may be anything.
            connection.hostnameVerifier = { host, session -> false } as HostnameVerifier
            connection.instanceFollowRedirects = false
            connection.connectTimeout = 2000
            connection.readTimeout = Math.max(1L, (deadline - System.nanoTime()).intdiv(1000000L) as long) as int
            connection.requestMethod = 'POST'
            connection.doOutput = true
            connection.setRequestProperty('Authorization', "Bearer ${token(settings)}".toString())
            connection.setRequestProperty('Content-Type', 'application/json')
            connection.outputStream.withStream { it.write(body.getBytes('UTF-8')) }
            int status = connection.responseCode
            InputStream stream = status < 400 ? connection.inputStream : connection.errorStream
            String said = stream == null ? '' : new String(limited(stream), 'UTF-8')
            if (status == 200) {
                return new JsonSlurper().parseText(said) as Map
            }
            Object read = null
            try { read = new JsonSlurper().parseText(said) } catch (Exception ignored) { }
            String why = read instanceof Map ? "${read.verdict}: ${read.reason}" : "HTTP ${status}"
            if (status == 504 && read instanceof Map && read.verdict == 'late') { // the gate's own word
                throw new Late("the gate says ${why}".toString())
            }
            throw new NoDrive("the gate says ${why}".toString(), status >= 500)
        } finally {
            connection.disconnect()
        }
    }

    private static byte[] limited(InputStream stream) {
        ByteArrayOutputStream found = new ByteArrayOutputStream()
        byte[] part = new byte[8192]
        stream.withStream {
            for (int read = it.read(part); read >= 0; read = it.read(part)) {
                found.write(part, 0, read)
                if (found.size() > MOST) {
                    throw new NoDrive('the answer is too large', false)
                }
            }
        }
        return found.toByteArray()
    }

    private static SSLContext trusting(Properties settings) {
        KeyStore store = KeyStore.getInstance(KeyStore.defaultType)
        store.load(null, null)
        new File(settings.getProperty('ca_file').trim()).withInputStream { file ->
            CertificateFactory.getInstance('X.509').generateCertificates(file).eachWithIndex { one, number ->
                store.setCertificateEntry("ca-${number}".toString(), one)
            }
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.defaultAlgorithm)
        trust.init(store)
        SSLContext context = SSLContext.getInstance('TLS')
        context.init(null, trust.trustManagers, null)
        return context
    }

    // ---- files ------------------------------------------------------------------------------------------------------

    private static String settingsPath() {
        return System.getProperty('configdrive.gate.settings', '/etc/cloudstack/agent/configdrive-gate.properties')
    }

    private static Properties readSettings() {
        Properties settings = new Properties()
        new File(settingsPath()).withReader('UTF-8') { settings.load(it) }
        return settings
    }

    // Not while they are read: what they say of fail_closed holds for this, too.
    private static void require(Properties settings) {
        for (String name : ['url', 'host', 'ca_file', 'token_file']) {
            if (!settings.getProperty(name)?.trim()) {
                throw new NoDrive("${name} is not set in ${settingsPath()}".toString(), false)
            }
        }
    }

    private static String token(Properties settings) {
        File file = new File(settings.getProperty('token_file').trim())
        Set<PosixFilePermission> mode = Files.getPosixFilePermissions(Paths.get(file.path))
        if (mode.any { it.name().startsWith('GROUP_') || it.name().startsWith('OTHERS_') }) {
            throw new NoDrive("${file} can be read by others: chmod 600".toString(), false)
        }
        return file.getText('UTF-8').trim()
    }

    // ---- XML --------------------------------------------------------------------------------------------------------

    private static Element parsed(String xml) {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance()
        factory.setFeature('http://apache.org/xml/features/disallow-doctype-decl', true)
        return factory.newDocumentBuilder().parse(new InputSource(new StringReader(xml))).documentElement
    }

    private static List<Element> children(Element parent, String name) {
        List<Element> found = []
        for (def node = parent?.firstChild; node != null; node = node.nextSibling) {
            if (node instanceof Element && node.nodeName == name) {
                found << (node as Element)
            }
        }
        return found
    }

    private static Element child(Element parent, String name) {
        List<Element> found = children(parent, name)
        return found ? found[0] : null
    }

    private static List<Element> devices(Element domain, String name) {
        return children(domain, 'devices').collectMany { children(it, name) }
    }

    private static List<Element> disks(Element domain) {
        return devices(domain, 'disk')
    }

    // The text stays as it was but for what is put in: CloudStack, or a tenant's extraconfig, may rely on the rest.
    private static String withDevices(String xml, List<String> elements) {
        int end = xml.lastIndexOf('</devices>')
        if (end < 0) {
            throw new NoDrive('the XML has no devices', false)
        }
        return xml.substring(0, end) + elements.join('\n') + '\n' + xml.substring(end)
    }
}
