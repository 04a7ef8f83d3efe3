// Hook of CloudStack's KVM agent: puts the config drive into the XML of a VM right before libvirt starts it.
//
// The agent calls transform(logger, xml) and starts what it answers (Apache CloudStack, LibvirtStartCommandWrapper.java). It makes a
// new script engine for each call (LibvirtComputingResource.getTransformer), and compiles this file anew. So the work stands in
// configdrive-gate.groovy, which is compiled once, and again when it has changed.

String key = 'configdrive.gate.hook'
File source = new File(System.getProperty('configdrive.gate.script', '/etc/cloudstack/agent/hooks/configdrive-gate.groovy'))
long stamp = source.lastModified()
synchronized (Runtime.runtime) {
    Object[] known = System.properties.get(key) as Object[]
    if (known == null || known[0] != stamp) {
        known = [stamp, new GroovyClassLoader(getClass().classLoader).parseClass(source).newInstance()] as Object[]
        System.properties.put(key, known)
    }
    return known[1]
}
