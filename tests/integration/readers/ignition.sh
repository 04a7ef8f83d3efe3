# Run as root in the small Linux, with the drive as its disk: Ignition's own stage "fetch", for two platforms.
# {ignition}: the program, {misses}: the looks in vain after which it is given up. Its platforms are cloudstack, then openstack.

# What udev does in a booted system, which Ignition leaves to it.
mount -t tmpfs tmpfs /run
mount -t devtmpfs devtmpfs /dev 2>/dev/null # the mount table of the machine that lends its files is read-only
mkdir -p /dev/disk/by-label /mnt/root /mnt/tmp
ln -s /dev/ubda "/dev/disk/by-label/$(blkid -o value -s LABEL /dev/ubda)"

misses() { grep -c 'config drive .* not found' /mnt/log; }
runs() { grep -q '^State:.[^Z]' /proc/$pid/status 2>/dev/null; } # the shell may have waited for it meanwhile

for platform in cloudstack openstack; do
  : >/mnt/log # there, and empty, before anybody looks into it
  TMPDIR=/mnt/tmp {ignition} -platform $platform -stage fetch -root /mnt/root \
    -config-cache /mnt/$platform.json -log-to-stdout >/mnt/log 2>&1 &
  pid=$!
  while runs && [ "$(misses)" -lt {misses} ]; do sleep 0.5; done
  kill $pid 2>/dev/null
  { wait $pid; } 2>/dev/null # the shell would say that it was ended
  echo "ignition: $?"
  cat /mnt/$platform.json 2>/dev/null && echo || echo nothing
  misses
done
ls -A /mnt/tmp
