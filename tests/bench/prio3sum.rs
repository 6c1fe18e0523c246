// Prio3Sum of the crate `prio`, with two aggregators: the time of a report, for measurements of so many bits as
// are given. Prints, for each, bits, us to shard, us to verify at both aggregators, us to aggregate at both, and bytes.

use prio::codec::Encode;
use prio::vdaf::{prio3::Prio3, Aggregatable, Aggregator, Client, Collector, VerifyTransition};
use std::time::Instant;

const REPORTS: u64 = 100;
const ROUNDS: u64 = 200; // of which the fastest counts
const CONTEXT: &[u8] = b"load";

fn main() {
    for argument in std::env::args().skip(1) {
        measure(argument.parse().unwrap());
    }
}

fn measure(bits: u32) {
    let vdaf = Prio3::new_sum(2, (1u64 << bits) - 1).unwrap();
    let (mut sharding, mut verifying, mut aggregating, mut bytes) = (vec![], vec![], vec![], 0);
    for round in 0..ROUNDS {
        let measurements: Vec<u64> =
            (0..REPORTS).map(|i| (i * 7919 + round * 104_729) % (1 << bits)).collect();
        let begin = Instant::now();
        let mut reports = Vec::new();
        for (i, measurement) in measurements.iter().enumerate() {
            let mut nonce = [0u8; 16];
            nonce[..8].copy_from_slice(&(i as u64).to_le_bytes());
            reports.push((nonce, vdaf.shard(CONTEXT, measurement, &nonce).unwrap()));
        }
        sharding.push(begin.elapsed());
        let mut sent = 0;
        let begin = Instant::now();
        let mut outputs = Vec::new();
        for (nonce, (public, shares)) in &reports {
            let (mut states, mut verifiers) = (Vec::new(), Vec::new());
            for (id, share) in shares.iter().enumerate() {
                let (state, verifier) =
                    vdaf.verify_init(&[7; 32], CONTEXT, id, &(), nonce, public, share).unwrap();
                sent += share.encoded_len().unwrap() + verifier.encoded_len().unwrap();
                states.push(state);
                verifiers.push(verifier);
            }
            sent += public.encoded_len().unwrap();
            let message = vdaf.verifier_shares_to_message(CONTEXT, &(), verifiers).unwrap();
            for state in states {
                match vdaf.verify_next(CONTEXT, state, message.clone()).unwrap() {
                    VerifyTransition::Finish(output) => outputs.push(output),
                    VerifyTransition::Continue(..) => panic!("Prio3 has one round"),
                }
            }
        }
        verifying.push(begin.elapsed());
        let begin = Instant::now();
        let mut totals = [vdaf.aggregate_init(&()), vdaf.aggregate_init(&())];
        for (i, output) in outputs.iter().enumerate() {
            totals[i % 2].accumulate(output).unwrap();
        }
        let sum = vdaf.unshard(&(), totals, REPORTS as usize).unwrap();
        aggregating.push(begin.elapsed());
        assert_eq!(sum, measurements.iter().sum::<u64>());
        bytes = sent / REPORTS as usize;
    }
    let [shard, verify, aggregate] = [sharding, verifying, aggregating]
        .map(|times| times.iter().min().unwrap().as_secs_f64() * 1e6 / REPORTS as f64);
    println!("{bits} {shard:.3} {verify:.3} {aggregate:.3} {bytes}");
}
