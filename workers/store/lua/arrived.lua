-- ARRIVED: note that a worker has come with the question to a host.
--
-- KEYS  1 questions (of one queue)
-- ARGV  1 prefix   2 queue   3 host   4 number of the message

arrived(ARGV[1], ARGV[2], 'questions:', ARGV[3], tonumber(ARGV[4]))
