"""TIC (télé-information client), the customer output of French meters, in its two modes (Enedis-NOI-CPT_54E
for Linky, Enedis-NOI-CPT_02E for its predecessors).

- `frames`    bytes to frames, and frames to groups of a label and a value
- `decoder`   groups to the lanes
- `model`     the profile
"""
